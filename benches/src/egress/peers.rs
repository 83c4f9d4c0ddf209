//! Programs of others on the same way: `./dev bench` installs them beside the build.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::certificates::{CA, CA_WITH_KEY};
use super::mint::{MINTED, mint_name};
use super::world::{HOST, SECRET};
use crate::Failure;
use crate::process::{Process, free_port};

/// Where this bench keeps its files, and the origin.
pub(crate) struct Place<'a> {
    pub(crate) directory: &'a Path,
    pub(crate) origin_port: u16,
}

impl Place<'_> {
    /// nginx as it ends TLS for a site.
    pub(crate) fn nginx(&self) -> Result<(Process, u16), Failure> {
        let (port, config) = self.config("nginx.conf", NGINX, Path::new("/"))?;
        let mut command = debian("usr/sbin/nginx")?.1;
        command.arg("-p").arg(self.directory).arg("-e").arg("stderr").arg("-c").arg(config);
        Ok((Process::program(&mut command, &self.directory.join("nginx.log"), port)?, port))
    }

    /// Squid with `ssl-bump`.
    pub(crate) fn squid(&self) -> Result<(Process, u16), Failure> {
        let (root, squid) = debian("usr/sbin/squid")?;
        let (port, config) = self.config("squid.conf", SQUID, &root)?;
        let mut hosts = format!("127.0.0.1 {HOST}\n");
        for number in 0..MINTED {
            writeln!(hosts, "127.0.0.1 {}", mint_name(number))?;
        }
        fs::write(self.directory.join("hosts"), hosts)?;
        let mut prepare = debian("usr/lib/squid/security_file_certgen")?.1;
        prepare.args(["-c", "-s"]).arg(self.directory.join("squid-certificates")).args(["-M", "16MB"]);
        if !prepare.output()?.status.success() {
            return Err("squid's store of certificates was not made".into());
        }
        // Squid does not run as root, and another user could not read these files: in a user namespace of its own it is neither.
        let mut command = Command::new("unshare");
        command.arg("--user").arg(squid.get_program()).args(["-N", "-f"]).arg(config);
        command.envs(squid.get_envs().filter_map(|(name, value)| Some((name, value?))));
        Ok((Process::program(&mut command, &self.directory.join("squid.log"), port)?, port))
    }

    /// mitmproxy without its interface.
    pub(crate) fn mitmproxy(&self) -> Result<(Process, u16), Failure> {
        let (port, own) = (free_port()?, self.directory.join("mitmproxy"));
        fs::create_dir(&own)?;
        fs::copy(self.directory.join(CA_WITH_KEY), own.join("mitmproxy-ca.pem"))?;
        fs::write(own.join("addon.py"), MITMPROXY)?;
        let mut command = Command::new(peers()?.join("mitmproxy/bin/mitmdump"));
        let set = |name: &str, path: &Path| format!("{name}={}", path.display());
        command
            .args(["--quiet", "--listen-host", "127.0.0.1", "--listen-port", &port.to_string()])
            .args(["--set", &set("confdir", &own), "--set", "connection_strategy=lazy"])
            .args(["--set", &set("ssl_verify_upstream_trusted_ca", &self.directory.join(CA))])
            .arg("--scripts")
            .arg(own.join("addon.py"))
            .env("BENCH_SECRET", SECRET);
        Ok((Process::program(&mut command, &self.directory.join("mitmproxy.log"), port)?, port))
    }

    /// Writes a configuration with its places filled in.
    fn config(&self, name: &str, template: &str, squid: &Path) -> Result<(u16, PathBuf), Failure> {
        let (port, path) = (free_port()?, self.directory.join(name));
        let text = template
            .replace("@dir@", &self.directory.to_string_lossy())
            .replace("@port@", &port.to_string())
            .replace("@origin@", &self.origin_port.to_string())
            .replace("@secret@", SECRET)
            .replace("@squid@", squid.to_string_lossy().trim_end_matches('/'));
        fs::write(&path, text)?;
        Ok((port, path))
    }
}

/// A program of a Debian package, unpacked beside the build or installed, and below what it stands.
fn debian(program: &str) -> Result<(PathBuf, Command), Failure> {
    let unpacked = peers()?.join("debian");
    for root in [unpacked.as_path(), Path::new("/")] {
        if root.join(program).exists() {
            let mut command = Command::new(root.join(program));
            let libraries = format!("usr/lib/{}-linux-gnu", std::env::consts::ARCH);
            command.env("LD_LIBRARY_PATH", unpacked.join(libraries));
            return Ok((root.to_owned(), command));
        }
    }
    Err(format!("there is no {program}; ./dev bench installs it").into())
}

fn peers() -> Result<PathBuf, Failure> {
    Ok(std::env::var_os("BENCH_PEERS")
        .ok_or("run this by ./dev bench, which installs what it is compared with")?
        .into())
}

const NGINX: &str = include_str!("../../peers/nginx.conf");
const SQUID: &str = include_str!("../../peers/squid.conf");
const MITMPROXY: &str = include_str!("../../peers/mitmproxy.py");
