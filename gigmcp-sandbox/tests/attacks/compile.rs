//! Compiles the tests' own static programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles a program without dependencies, given as its file below the crate's directory.
pub(crate) fn static_program(source: &str, output: &Path, options: &[&str]) -> PathBuf {
    let part = output.with_extension(format!("{}.part", std::process::id()));
    let status = Command::new(std::env::var_os("RUSTC").unwrap_or("rustc".into()))
        .args(["--edition=2024", "-Copt-level=s", "-Cpanic=abort"])
        .args(["-Ctarget-feature=+crt-static", "-Crelocation-model=static", "-Astatic_mut_refs"])
        .args(options)
        .arg("-o")
        .arg(&part)
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(source))
        .status()
        .expect("the Rust compiler can be started");
    assert!(status.success(), "{source} does not compile");
    // Renamed, so that a test binary running beside this one never sees half a file.
    fs::rename(&part, output).expect("in the same directory");
    output.to_owned()
}
