//! Turns a builder's wishes into the steps that build a root.

use std::fs::{self, File};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::protocol::Step;
use crate::rootfs::Kind;
use crate::sources::{check_source, is_plain};
use crate::{Limits, PathRefusal, RootfsRefusal, SandboxBuilder, SpawnError, image};

/// The steps of a root and the files they copy.
#[derive(Debug)]
pub(crate) struct Root {
    pub(crate) steps: Vec<Step>,
    pub(crate) copied: Vec<OwnedFd>,
    /// Directories of the root whose insides are not ours, or the host's.
    foreign: Vec<PathBuf>,
    image: bool,
    /// Whether the authorities in `/etc` are ours and not the root's.
    own_authorities: bool,
    /// Top-level directories that are ours and not the root's.
    pub(crate) own: Vec<PathBuf>,
}

impl Root {
    /// Plans a root. Reads the file system, so it may block.
    pub(crate) fn new(builder: &SandboxBuilder) -> Result<Self, SpawnError> {
        let mut root = Self {
            steps: Vec::new(),
            copied: Vec::new(),
            foreign: Vec::new(),
            image: false,
            own_authorities: builder.ca_bundle.is_some(),
            own: builder
                .state
                .iter()
                .map(|state| &state.inside)
                .chain(builder.writable.iter().map(|(path, _)| path))
                .cloned()
                .collect(),
        };
        root.frame(&builder.limits);
        match &builder.rootfs.0 {
            Kind::SingleFile(path) => root.single_file(path)?,
            Kind::Image(dir) => {
                root.image = true;
                image::plan(&mut root, dir)?;
            }
            Kind::HostTools => root.host_tools()?,
        }
        root.etc_files(builder.network.resolver());
        for path in CA_FILES.iter().filter(|_| root.own_authorities).map(Path::new) {
            let content = builder.ca_bundle.clone().unwrap_or_default();
            root.steps.push(Step::File { to: inside(path), mode: 0o444, content });
        }
        for (path, content) in &builder.files {
            root.extra_file(path, content)?;
        }
        for path in &builder.read_only {
            root.read_only(path)?;
        }
        for (path, max_bytes) in &builder.writable {
            root.check_own_place(path)?;
            let bytes = (*max_bytes).clamp(PAGE, MOST);
            root.steps.push(Step::Tmpfs {
                to: inside(path),
                mode: 0o755,
                bytes,
                inodes: builder.limits.tmp_files.clamp(1, MOST),
            });
        }
        Ok(root)
    }

    /// Directories every root has, the devices, and the writable places.
    fn frame(&mut self, limits: &Limits) {
        let dirs =
            [("", 0o755), ("/proc", 0o555), ("/dev", 0o755), ("/dev/pts", 0o755), ("/etc", 0o755), ("/.gig", 0o755)];
        for (dir, mode) in dirs {
            self.steps.push(Step::Dir { to: inside(Path::new(dir)), mode });
        }
        for name in DEVICES {
            let to = [b"/root/dev/", name.as_bytes()].concat();
            self.steps.push(Step::Device { to, name: name.as_bytes().to_vec() });
        }
        for (name, target) in DEVICE_LINKS {
            self.symlink(&Path::new("/dev").join(name), Path::new(target));
        }
        // What covers parts of /proc.
        self.steps.push(Step::File { to: b"/empty-file".to_vec(), mode: 0o444, content: Vec::new() });
        self.steps.push(Step::Dir { to: b"/empty-dir".to_vec(), mode: 0o555 });
        // 0 would be no limit to the kernel, and so would a size that overflows when it is rounded up.
        let tmpfs = |to: &str, mode, bytes: u64, inodes: u64| Step::Tmpfs {
            to: to.into(),
            mode,
            bytes: bytes.clamp(PAGE, MOST),
            inodes: inodes.clamp(1, MOST),
        };
        self.steps.push(tmpfs("/root/tmp", 0o1777, limits.tmp_bytes, limits.tmp_files));
        self.steps.push(tmpfs("/root/run", 0o755, RUN_BYTES, RUN_FILES));
        self.steps.push(tmpfs("/root/dev/shm", 0o1777, limits.shm_bytes, limits.tmp_files));
    }

    fn single_file(&mut self, path: &Path) -> Result<(), SpawnError> {
        let refused = |why| SpawnError::RefusedRootfs { path: path.to_owned(), why };
        let file = File::options()
            .read(true)
            .custom_flags(rustix::fs::OFlags::NONBLOCK.bits() as i32)
            .open(path)
            .and_then(|file| Ok((file.metadata()?, file)))
            .map_err(|source| SpawnError::Read { path: path.to_owned(), source });
        let (metadata, file) = file?;
        if !metadata.is_file() {
            return Err(refused(RootfsRefusal::WrongKind));
        }
        let descriptor = self.copied.len() as u32;
        self.copied.push(file.into());
        self.steps.push(Step::Copy { to: b"/root/server".to_vec(), mode: 0o555, descriptor });
        Ok(())
    }

    fn host_tools(&mut self) -> Result<(), SpawnError> {
        self.bind_host(Path::new("/usr"))?;
        for name in ["/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store"] {
            self.host_path(Path::new(name), Shows::Directories)?;
        }
        let unreadable = |source| SpawnError::Read { path: "/etc".into(), source };
        for entry in fs::read_dir("/etc").map_err(unreadable)? {
            let name = entry.map_err(unreadable)?.file_name();
            let wanted = HOST_ETC.iter().any(|known| name == *known)
                || HOST_ETC_PREFIXES.iter().any(|prefix| name.as_bytes().starts_with(prefix.as_bytes()));
            if wanted {
                self.host_path(&Path::new("/etc").join(name), Shows::FilesToo)?;
            }
        }
        for path in HOST_ETC_BELOW.iter().map(Path::new) {
            if !self.replaces(path) {
                self.host_path(path, Shows::FilesToo)?;
            }
        }
        Ok(())
    }

    /// Whether something of the root's own `/etc` makes room for our authorities.
    pub(crate) fn replaces(&self, path: &Path) -> bool {
        self.own_authorities && CA_PLACES.iter().any(|place| path == Path::new(place))
    }

    /// Whether something that is no directory stands in the way to them.
    pub(crate) fn blocks(&self, path: &Path) -> bool {
        self.own_authorities && CA_FILES.iter().any(|file| Path::new(file).starts_with(path))
    }

    /// Shows a part of the host's own system if the host has it.
    fn host_path(&mut self, path: &Path, shows: Shows) -> Result<(), SpawnError> {
        let unreadable = |source| SpawnError::Read { path: path.to_owned(), source };
        match fs::symlink_metadata(path) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(path).map_err(unreadable)?;
                self.symlink(path, &target);
                Ok(())
            }
            Ok(found) if found.is_dir() || found.is_file() && shows == Shows::FilesToo => self.bind_host(path),
            Ok(_) => Ok(()),
            Err(error) if is_out_of_sight(&error) => Ok(()),
            Err(error) => Err(unreadable(error)),
        }
    }

    /// Binds a part of the host's own system, which may lie behind symlinks of the host's making.
    fn bind_host(&mut self, path: &Path) -> Result<(), SpawnError> {
        let from = fs::canonicalize(path).map_err(|source| SpawnError::Read { path: path.to_owned(), source })?;
        self.bind(path, &from);
        Ok(())
    }

    /// Binds `from`, which is opened without following any symlink.
    fn bind(&mut self, path: &Path, from: &Path) {
        self.foreign.push(path.to_owned());
        self.steps.push(Step::Bind { to: inside(path), from: from.as_os_str().as_bytes().to_vec(), beneath: None });
    }

    pub(crate) fn symlink(&mut self, path: &Path, target: &Path) {
        let target = target.as_os_str().as_bytes().to_vec();
        self.steps.push(Step::Symlink { to: inside(path), target });
    }

    pub(crate) fn bind_beneath(&mut self, path: &Path, dir: &Path, name: &Path) {
        self.foreign.push(path.to_owned());
        self.steps.push(Step::Bind {
            to: inside(path),
            from: dir.as_os_str().as_bytes().to_vec(),
            beneath: Some(name.as_os_str().as_bytes().to_vec()),
        });
    }

    /// Shows a directory of the host that the server may write to.
    pub(crate) fn state(&mut self, at: &Path, path: &Path) -> Result<(), SpawnError> {
        self.check_own_place(at)?;
        self.steps.push(Step::State { to: inside(at), from: path.as_os_str().as_bytes().to_vec() });
        Ok(())
    }

    /// Whether a directory of ours may be put at this path inside.
    fn check_own_place(&self, path: &Path) -> Result<(), SpawnError> {
        let refused = |why| Err(SpawnError::RefusedPath { path: path.to_owned(), why });
        let reserved = ["/dev", "/etc", "/proc", "/run", "/server", "/tmp", "/.gig"].map(Path::new);
        if !is_plain(path) || path.parent().is_none() {
            return refused(PathRefusal::NotAbsolute);
        }
        let beside = |other: &PathBuf| other != path && (other.starts_with(path) || path.starts_with(other));
        let twice = self.own.iter().filter(|other| *other == path).count() > 1;
        if twice || self.own.iter().any(beside) || reserved.iter().any(|reserved| path.starts_with(reserved)) {
            return refused(PathRefusal::Reserved);
        }
        match self.foreign.iter().any(|shown| path.starts_with(shown)) {
            true => refused(PathRefusal::InsideImage),
            false => Ok(()),
        }
    }

    /// The files of `/etc` that are always ours.
    fn etc_files(&mut self, resolver: Ipv4Addr) {
        for (name, content) in ETC_FILES {
            let path = Path::new("/etc").join(name);
            let content = content.replace("RESOLVER", &resolver.to_string()).into_bytes();
            self.steps.push(Step::File { to: inside(&path), mode: 0o444, content });
        }
    }

    fn extra_file(&mut self, path: &Path, content: &[u8]) -> Result<(), SpawnError> {
        self.check_place(path)?;
        self.steps.push(Step::File { to: inside(path), mode: 0o444, content: content.to_vec() });
        Ok(())
    }

    fn read_only(&mut self, path: &Path) -> Result<(), SpawnError> {
        self.check_place(path)?;
        check_source(path).map_err(|why| SpawnError::RefusedPath { path: path.to_owned(), why })?;
        if !self.image && self.foreign.iter().any(|shown| path.starts_with(shown)) {
            return Ok(()); // the host's own tree shows it already
        }
        self.bind(path, path);
        Ok(())
    }

    /// Whether something may be put at this path inside.
    fn check_place(&self, path: &Path) -> Result<(), SpawnError> {
        let refused = |why| Err(SpawnError::RefusedPath { path: path.to_owned(), why });
        if !is_plain(path) {
            return refused(PathRefusal::NotAbsolute);
        }
        let reserved = ["/proc", "/dev", "/run", "/server", "/state"].map(Path::new);
        let etc = ETC_FILES.iter().any(|(name, _)| path == Path::new("/etc").join(name));
        if etc || reserved.iter().any(|reserved| path.starts_with(reserved)) || path == Path::new("/tmp") {
            return refused(PathRefusal::Reserved);
        }
        if self.image && self.foreign.iter().any(|shown| path.starts_with(shown)) {
            return refused(PathRefusal::InsideImage);
        }
        Ok(())
    }
}

/// What is shown of the host at a path.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Shows {
    Directories,
    FilesToo,
}

/// Whether the host has nothing there, or nothing that this process, and so the server, could look at.
fn is_out_of_sight(error: &io::Error) -> bool {
    matches!(Errno::from_io_error(error), Some(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS))
}

/// Where a path inside lies on the stage.
pub(crate) fn inside(path: &Path) -> Vec<u8> {
    [b"/root", path.as_os_str().as_bytes()].concat()
}

/// No terminal: `/dev/tty` would be that of the session, which has none.
const DEVICES: [&str; 5] = ["null", "zero", "full", "random", "urandom"];
const DEVICE_LINKS: [(&str, &str); 5] = [
    ("fd", "/proc/self/fd"),
    ("stdin", "/proc/self/fd/0"),
    ("stdout", "/proc/self/fd/1"),
    ("stderr", "/proc/self/fd/2"),
    ("ptmx", "pts/ptmx"),
];
/// Where OpenSSL, Go, and what is built for Debian, Alpine and Fedora look for authorities.
const CA_FILES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/ssl/cert.pem", "/etc/pki/tls/certs/ca-bundle.crt"];
const CA_PLACES: [&str; 3] = ["/etc/ssl/certs", "/etc/ssl/cert.pem", "/etc/pki/tls/certs"];
const PAGE: u64 = 4096;
/// More than any machine has.
const MOST: u64 = 1 << 50;
const RUN_BYTES: u64 = 1 << 20;
const RUN_FILES: u64 = 1024;

/// Entries of the host's `/etc` that runtimes read.
const HOST_ETC: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "alternatives",
    "mime.types",
    "localtime",
    "timezone",
    "os-release",
    "debian_version",
    "protocols",
    "services",
    "gai.conf",
    "locale.alias",
    "magic",
    "magic.mime",
    "ca-certificates",
];
const HOST_ETC_PREFIXES: &[&str] = &["java-", "python", "perl"];
/// Public parts of directories whose other parts are private.
const HOST_ETC_BELOW: &[&str] = &[
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/certs",
    "/etc/pki/tls/openssl.cnf",
    "/etc/pki/ca-trust/extracted",
    "/etc/crypto-policies",
];

/// `RESOLVER` is the resolver's address.
pub(crate) const ETC_FILES: &[(&str, &str)] = &[
    ("passwd", "server:x:65534:65534:server:/tmp:/bin/sh\n"),
    ("group", "server:x:65534:\n"),
    ("hosts", "127.0.0.1 localhost\n127.0.0.1 sandbox\n"),
    ("hostname", "sandbox\n"),
    ("nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\nservices: files\nprotocols: files\n"),
    ("resolv.conf", "nameserver RESOLVER\noptions timeout:1 attempts:2\n"),
];
