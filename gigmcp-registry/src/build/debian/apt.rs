//! Debian's own programs, which know which packages there are and that they are Debian's.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use super::{Debian, DebianError};
use crate::oci::Platform;

/// `apt` with files of its own, which leaves those of the machine alone.
pub(super) struct Apt {
    root: PathBuf,
}

impl Apt {
    pub(super) fn new(debian: &Debian, platform: Platform, root: &Path) -> Result<Self, DebianError> {
        let write = |name: &str, text: &str| {
            let path = root.join(name);
            fs::write(&path, text).map_err(|source| DebianError::Scratch { path, source })
        };
        for name in ["lists/partial", "archives/partial"] {
            let path = root.join(name);
            fs::create_dir_all(&path).map_err(|source| DebianError::Scratch { path, source })?;
        }
        let Debian { suite, mirror } = debian;
        write("sources.list", &format!("deb [signed-by={KEYRING}] {mirror} {suite} main\n"))?;
        write("status", "")?;
        write("apt.conf", &settings(root, platform.architecture()))?;
        Ok(Self { root: root.to_owned() })
    }

    pub(super) fn run(&self, arguments: &[&str]) -> Result<(), DebianError> {
        let mut command = Command::new("apt-get");
        command.arg("--quiet=2").args(arguments).env("APT_CONFIG", self.root.join("apt.conf")).env("LC_ALL", "C");
        finished(command.stdin(Stdio::null()), "apt-get").map(drop)
    }

    pub(super) fn archives(&self) -> Result<Vec<PathBuf>, DebianError> {
        let path = self.root.join("archives");
        let failed = |source| DebianError::Scratch { path: path.clone(), source };
        let mut found = Vec::new();
        for entry in fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?.path();
            if entry.extension().is_some_and(|extension| extension == "deb") {
                found.push(entry);
            }
        }
        found.sort();
        Ok(found)
    }
}

/// All settings: of the machine's, and of what lies in the home of nobody, `/nonexistent`, none is read.
fn settings(root: &Path, architecture: &str) -> String {
    let root = root.display();
    let none = format!("{root}/none");
    format!(
        "Dir \"{root}\";\nDir::State \"{root}\";\nDir::State::lists \"{root}/lists\";\n\
         Dir::State::status \"{root}/status\";\nDir::Cache \"{root}\";\n\
         Dir::Cache::archives \"{root}/archives\";\nDir::Etc::parts \"{none}\";\n\
         Dir::Etc::main \"{none}\";\nDir::Etc::sourcelist \"{root}/sources.list\";\n\
         Dir::Etc::sourceparts \"{none}\";\nDir::Etc::preferences \"{none}\";\n\
         Dir::Etc::preferencesparts \"{none}\";\nDir::Log \"{root}\";\n\
         APT::Architecture \"{architecture}\";\nAPT::Architectures {{ \"{architecture}\"; }};\n\
         APT::Sandbox::User \"\";\nAPT::Install-Suggests \"false\";\nAcquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n"
    )
}

pub(super) fn finished(command: &mut Command, program: &'static str) -> Result<Output, DebianError> {
    let output = command.output().map_err(|source| DebianError::Missing { program, source })?;
    match output.status.success() {
        true => Ok(output),
        false => Err(DebianError::Failed { program, said: String::from_utf8_lossy(&output.stderr).trim().to_owned() }),
    }
}

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_setting_of_the_machine_is_read() {
        let settings = settings(Path::new("/scratch"), "amd64");
        let paths: Vec<_> = settings.split('"').filter(|text| text.starts_with('/')).collect();
        assert_eq!((paths.len(), paths.iter().find(|path| !path.starts_with("/scratch"))), (13, None));
    }
}
