//! Compiles the bootstrap, a static program without dependencies, so that it can be embedded.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=bootstrap");
    println!("cargo::rerun-if-changed=build.rs");
    let variable = |name: &str| env::var_os(name).unwrap_or_else(|| panic!("cargo sets {name}"));
    let output = PathBuf::from(variable("OUT_DIR")).join("gigmcp-bootstrap");
    if variable("CARGO_CFG_TARGET_OS") == "linux" {
        compile(Path::new("bootstrap/main.rs"), &output);
    } else {
        // The crate compiles elsewhere, and starting a sandbox is an error there.
        std::fs::write(&output, []).expect("OUT_DIR is writable");
    }
}

fn compile(source: &Path, output: &Path) {
    let mut rustc = Command::new(env::var_os("RUSTC").expect("cargo sets RUSTC"));
    rustc.arg("--edition=2024").arg("--crate-name=gigmcp_bootstrap");
    rustc.arg("--target").arg(env::var_os("TARGET").expect("cargo sets TARGET"));
    for option in [
        "opt-level=s",
        "panic=abort",
        "lto=fat",
        "codegen-units=1",
        "strip=symbols",
        "target-feature=+crt-static",
        "relocation-model=static",
    ] {
        rustc.arg("-C").arg(option);
    }
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        rustc.arg("-C").arg({
            let mut option = std::ffi::OsString::from("linker=");
            option.push(linker);
            option
        });
    }
    // Half of the shared protocol is for the other side.
    rustc.args(["-A", "dead_code"]).arg("-o").arg(output).arg(source);
    let status = rustc.status().expect("the Rust compiler can be started");
    assert!(
        status.success(),
        "compiling the bootstrap failed; it is linked statically, so the static C library must be \
         installed (Debian: libc6-dev, Fedora: glibc-static)"
    );
}
