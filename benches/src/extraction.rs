//! Unpacking an image layer beside GNU tar, from the same file and into the same file system.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use gigmcp_registry::{Compression, Digest, ImageLimits, Layer, extract};

use crate::Failure;
use crate::figures::{Figures, compare};

/// Ours also hashes the archive and every file, refuses what must not be there, and makes the tree read-only.
pub(crate) fn run() -> Result<(), Failure> {
    let dir = tempfile::tempdir()?;
    let plain = dir.path().join("layer.tar");
    pack(&plain)?;
    let diff_id = Digest::of(&fs::read(&plain)?);
    for (compression, program) in [(Compression::None, ""), (Compression::Gzip, "gzip"), (Compression::Zstd, "zstd")] {
        let stored = if program.is_empty() { plain.clone() } else { compressed(&plain, program)? };
        let (mut ours, mut theirs) = (Figures::default(), Figures::default());
        for _ in 0..ROUNDS {
            ours.add(into_empty(dir.path(), |tree| {
                let layer = Layer { content: File::open(&stored)?, compression, diff_id };
                extract(tree, [layer], &ImageLimits::default())?;
                Ok(())
            })?);
            theirs.add(into_empty(dir.path(), |tree| gnu_tar(&stored, program, tree))?);
        }
        let (from, to) = (fs::metadata(&stored)?.len() >> 20, fs::metadata(&plain)?.len() >> 20);
        compare(&format!("unpack {from} MiB ({compression:?}) to {to} MiB"), &ours, "GNU tar", &theirs);
    }
    Ok(())
}

/// What every Debian has of many small files and some large ones.
pub(crate) fn pack(archive: &Path) -> Result<(), Failure> {
    let mut tar = Command::new("tar");
    tar.args(["--create", "--directory", "/usr", "--format=posix", "--exclude=*.gz", "--ignore-failed-read"]);
    done(tar.arg("--file").arg(archive).args(["share/perl", "lib/python3", "lib/git-core"]))
}

pub(crate) fn compressed(plain: &Path, program: &str) -> Result<std::path::PathBuf, Failure> {
    let stored = plain.with_extension(program);
    let output = File::create(&stored)?;
    done(Command::new(program).args(["--stdout", "--quiet"]).arg(plain).stdout(output))?;
    Ok(stored)
}

pub(crate) fn gnu_tar(stored: &Path, program: &str, tree: &Path) -> Result<(), Failure> {
    let mut tar = Command::new("tar");
    if !program.is_empty() {
        tar.arg(format!("--use-compress-program={program}"));
    }
    done(tar.args(["--extract", "--no-same-owner", "--directory"]).arg(tree).arg("--file").arg(stored))
}

fn into_empty(dir: &Path, unpack: impl FnOnce(&Path) -> Result<(), Failure>) -> Result<Duration, Failure> {
    let tree = dir.join("tree");
    fs::create_dir(&tree)?;
    let clock = Instant::now();
    unpack(&tree)?;
    let taken = clock.elapsed();
    done(Command::new("chmod").args(["--recursive", "u+w"]).arg(&tree))?;
    fs::remove_dir_all(&tree)?;
    Ok(taken)
}

pub(crate) fn done(command: &mut Command) -> Result<(), Failure> {
    let status = command.stderr(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("{command:?} ended with {status}").into()) }
}

const ROUNDS: usize = 7;
