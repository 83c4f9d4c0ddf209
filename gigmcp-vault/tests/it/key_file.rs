use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use gigmcp_vault::{KeyFileError, KeyRing, LocalKey, MalformedKeyFile, Readers, SecretBytes, Vault};

use crate::context;

/// A new empty directory for one test, mode 0700.
pub(crate) fn directory(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir(&path).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o700)).unwrap();
    path
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

#[test]
fn a_created_file_is_private_and_loads_to_the_same_ring() {
    let path = directory("create").join("below/data/key");
    let created = Vault::new(KeyRing::create(&path).unwrap());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(mode(path.parent().unwrap()), 0o700);
    let sealed = created.seal(&context(), SecretBytes::from(b"token".to_vec())).unwrap();
    let loaded = Vault::new(KeyRing::load(&path).unwrap());
    assert_eq!(loaded.open(&context(), &sealed), Ok(SecretBytes::from(b"token".to_vec())));
    let lines = fs::read_to_string(&path).unwrap();
    assert!(lines.starts_with("gigmcp-vault-keys 1\nminimum-version 1\nactive 1 "), "as FORMAT.md says");
    assert_eq!(lines.lines().count(), 4);
}

#[test]
fn create_never_touches_what_is_there() {
    let directory = directory("exists");
    let target = directory.join("target");
    for (case, path) in [("file", "file"), ("directory", "directory"), ("link", "link"), ("dangling link", "dangling")]
    {
        let path = directory.join(path);
        match case {
            "file" => fs::write(&path, "precious").unwrap(),
            "directory" => fs::create_dir(&path).unwrap(),
            "link" => symlink(directory.join("file"), &path).unwrap(),
            _ => symlink(&target, &path).unwrap(),
        }
        assert!(matches!(KeyRing::create(&path), Err(KeyFileError::Exists { path: named }) if named == path), "{case}");
    }
    assert_eq!(fs::read_to_string(directory.join("file")).unwrap(), "precious");
    assert!(!target.exists(), "nothing was written through the link");
    assert!(KeyRing::create(directory.join("free")).is_ok());
}

#[test]
fn a_file_open_to_others_is_refused_with_the_fix() {
    let path = directory("mode").join("key");
    KeyRing::create(&path).unwrap();
    for (bits, fine) in [
        (0o600, true),
        (0o400, true),
        (0o700, true),
        (0o640, false),
        (0o620, false),
        (0o610, false),
        (0o604, false),
        (0o602, false),
        (0o601, false),
    ] {
        fs::set_permissions(&path, Permissions::from_mode(bits)).unwrap();
        match KeyRing::load(&path) {
            Ok(_) => assert!(fine, "{bits:o}"),
            Err(error) => {
                assert!(!fine, "{bits:o}: {error}");
                assert!(matches!(error, KeyFileError::OpenToOthers { mode, .. } if mode == bits), "{bits:o}");
                let path = path.display();
                let text = format!("key file {path} is open to other users (mode {bits:04o}); run: chmod 600 {path}");
                assert_eq!(error.to_string(), text);
            }
        }
    }
}

#[test]
fn a_mounted_file_may_be_read_by_our_group_and_by_nobody_else() {
    let directory = directory("mounted");
    let (path, link) = (directory.join("key"), directory.join("link"));
    KeyRing::create(&path).unwrap();
    symlink("key", &link).unwrap();
    let mounted = |readers| KeyRing::load_shared(&link, readers);
    for mode in [0o400, 0o440, 0o600, 0o640] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        assert!(mounted(Readers::Group).is_ok(), "{mode:o}");
        assert!(matches!(mounted(Readers::Owner), Err(KeyFileError::NotRegular { .. })), "{mode:o}");
    }
    for mode in [0o444, 0o460, 0o450, 0o404, 0o602, 0o641] {
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        for readers in [Readers::Group, Readers::Credential] {
            let refused = mounted(readers);
            assert!(
                matches!(refused, Err(KeyFileError::OpenToOthers { mode: found, .. }) if found == mode),
                "{mode:o}"
            );
        }
    }
    fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    if is_root() {
        let ours = fs::metadata(&path).unwrap().gid();
        chown(&path, None, Some(65_533)).unwrap();
        let error = mounted(Readers::Group).unwrap_err();
        assert!(matches!(error, KeyFileError::OpenToGroup { group: 65_533, mode: 0o440, .. }), "{error}");
        assert!(mounted(Readers::Credential).is_ok(), "systemd's mask stands at a group that may not read");
        fs::set_permissions(&path, Permissions::from_mode(0o400)).unwrap();
        assert!(mounted(Readers::Group).is_ok(), "a group that may not read is as good as none");
        chown(&path, None, Some(ours)).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o440)).unwrap();
    }
    assert!(mounted(Readers::Group).is_ok());
    // Owner, a user of our choice, group, mask, others: see linux/posix_acl_xattr.h.
    let anybody = (0u32.wrapping_sub(1), 65_533);
    let entries = [(1, 4, anybody.0), (2, 4, anybody.1), (4, 4, anybody.0), (16, 4, anybody.0), (32, 0, anybody.0)];
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permission, id) in entries {
        list.extend([u16::to_le_bytes(tag), u16::to_le_bytes(permission)].concat());
        list.extend(u32::to_le_bytes(id));
    }
    let set = rustix::fs::setxattr(&path, "system.posix_acl_access", &list, rustix::fs::XattrFlags::empty());
    if set == Err(rustix::io::Errno::OPNOTSUPP) {
        return; // a file system without lists cannot have one
    }
    set.unwrap();
    assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o440, "looks the same");
    assert!(matches!(mounted(Readers::Group), Err(KeyFileError::OpenToGroup { .. })));
}

#[test]
fn what_is_not_a_regular_file_is_refused() {
    let directory = directory("kinds");
    let key = directory.join("key");
    KeyRing::create(&key).unwrap();
    symlink(&key, directory.join("link")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, directory.join("fifo"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let _listener = UnixListener::bind(directory.join("socket")).unwrap();
    for kind in ["link", "fifo", "socket", "."] {
        let path = directory.join(kind);
        assert!(matches!(KeyRing::load(&path), Err(KeyFileError::NotRegular { .. })), "{kind}");
    }
    assert!(KeyRing::load(&key).is_ok());
}

#[test]
fn a_foreign_owner_is_refused() {
    let path = directory("owner").join("key");
    KeyRing::create(&path).unwrap();
    assert!(KeyRing::load(&path).is_ok());
    if is_root() {
        chown(&path, Some(65_533), None).unwrap();
        let error = KeyRing::load(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::WrongOwner { owner: 65_533, user: 0, .. }), "{error}");
        assert!(error.to_string().ends_with(&format!("run: chown 0 {}", path.display())), "{error}");
    } else {
        // Nobody else's file can be made here, but one that root owns and nobody may read is on every system.
        let error = KeyRing::load("/etc/shadow").unwrap_err();
        assert!(matches!(error, KeyFileError::Unreadable { .. }), "{error}");
    }
}

#[test]
fn damage_is_found_and_nothing_of_the_key_is_quoted() {
    let path = directory("damage").join("key");
    KeyRing::create(&path).unwrap();
    let good = fs::read(&path).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1;
        fs::write(&path, &bad).unwrap();
        let error = KeyRing::load(&path).unwrap_err();
        assert!(matches!(error, KeyFileError::Malformed { .. }), "byte {at}: {error}");
        let key = &std::str::from_utf8(&good).unwrap().lines().nth(2).unwrap()[42..];
        assert!(!error.to_string().contains(&key[..8]), "byte {at}: {error}");
    }
    fs::write(&path, b"").unwrap();
    let error = KeyRing::load(&path).unwrap_err();
    assert!(matches!(error, KeyFileError::Malformed { line: 1, problem: MalformedKeyFile::NotText, .. }), "{error}");
    fs::write(&path, &good).unwrap();
    assert!(KeyRing::load(&path).is_ok());
}

#[test]
fn load_or_create_makes_one_ring_and_replaces_nothing() {
    let directory = directory("load-or-create");
    let path = directory.join("key");
    let barrier = std::sync::Barrier::new(8);
    let ids: Vec<_> = std::thread::scope(|scope| {
        let start = || {
            barrier.wait();
            KeyRing::load_or_create(&path)
        };
        let racers: Vec<_> = (0..8).map(|_| scope.spawn(start)).collect();
        racers.into_iter().map(|racer| racer.join().unwrap().unwrap().active_id()).collect()
    });
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1, "the losers left nothing behind");
    fs::write(&path, "damaged").unwrap();
    assert!(matches!(KeyRing::load_or_create(&path), Err(KeyFileError::Malformed { .. })));
    assert_eq!(fs::read_to_string(&path).unwrap(), "damaged");
    assert!(matches!(KeyRing::load(directory.join("none")), Err(KeyFileError::Missing { .. })));
}

#[test]
fn saving_replaces_whole_files_and_leaves_no_other() {
    let directory = directory("save");
    let path = directory.join("key");
    let mut ring = KeyRing::create(&path).unwrap();
    let first = fs::read(&path).unwrap();
    ring.rotate().unwrap();
    fs::write(directory.join("key.new"), "from a crash").unwrap();
    let error = ring.save(&path).unwrap_err();
    assert!(matches!(&error, KeyFileError::Exists { path } if path.ends_with("key.new")), "{error}");
    assert_eq!(fs::read(&path).unwrap(), first);
    fs::remove_file(directory.join("key.new")).unwrap();
    ring.save(&path).unwrap();
    assert_eq!(KeyRing::load(&path).unwrap().active_id(), ring.active_id());
    assert_eq!(mode(&path), 0o600);
    assert_eq!(fs::read_dir(&directory).unwrap().count(), 1);
}

/// One rotation a day would come to this in less than two years.
#[tokio::test]
async fn more_keys_than_a_file_holds_are_not_saved() {
    let path = directory("many").join("key");
    let mut ring = KeyRing::create(&path).unwrap();
    let wrap = LocalKey::new(&SecretBytes::from(vec![1; 32])).unwrap();
    while ring.active_version() < 700 {
        ring.rotate().unwrap();
    }
    let before = fs::read(&path).unwrap();
    for saved in [ring.save(&path), ring.save_wrapped(&path, &wrap).await] {
        assert!(matches!(saved, Err(KeyFileError::TooManyKeys { keys: 700, .. })), "{saved:?}");
    }
    assert_eq!(fs::read(&path).unwrap(), before);

    let sealed = |ring| Vault::new(ring).seal(&context(), SecretBytes::from(b"token".to_vec())).unwrap();
    assert_eq!(ring.forget_retired(), 699);
    ring.save(&path).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap().matches("retired").count(), 0);
    let loaded = KeyRing::load(&path).unwrap();
    assert_eq!((loaded.active_version(), loaded.minimum_version()), (700, 700));
    let opened = Vault::new(KeyRing::load(&path).unwrap()).open(&context(), &sealed(loaded));
    assert_eq!(opened, Ok(SecretBytes::from(b"token".to_vec())));
}
