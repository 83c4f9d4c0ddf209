//! Trees that run, and the garbage around them.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

use gigmcp_registry::{Installed, Keep, LeaseError, Store, StoreError};

use super::Place;
use super::image::Image;
use crate::tar_bytes::Tar;

async fn install(place: &Place, name: &str) -> Installed {
    let image = Image::single(&[Tar::new().file("base", "base"), Tar::new().file("d/name", name).symlink("l", "d")]);
    image.write_layout(&place.path(name));
    place.installer().from_layout(place.path(name), image.digest).await.unwrap()
}

#[tokio::test]
async fn what_is_kept_or_leased_stays() {
    let place = Place::new();
    let [kept, leased, gone] =
        [install(&place, "kept").await, install(&place, "leased").await, install(&place, "gone").await];
    let [kept, gone] = [kept, gone].map(|installed| installed.tree);
    // As another process would.
    let other = Store::open(place.path("store")).unwrap();
    let collected = other.collect_garbage(&Keep::trees([kept])).unwrap();
    assert_eq!((collected.trees, collected.leased), (1, 1));
    assert!(matches!(place.store.lease(gone), Err(LeaseError::Missing(_))));
    assert!(leased.lease.rootfs().join("base").exists());
    // The base layer is shared, and nothing of the third image is left.
    assert_eq!(place.names("blobs").len(), 2 * 3 + 1);
    assert_eq!(place.names("images").len(), 2);

    let tree = leased.tree;
    drop(leased);
    let collected = other.collect_garbage(&Keep::trees([kept])).unwrap();
    assert_eq!((collected.trees, collected.leased), (1, 0));
    assert!(matches!(place.store.lease(tree), Err(LeaseError::Missing(_))));
    place.store.lease(kept).unwrap();
    assert_eq!(other.collect_garbage(&Keep::trees([kept])).unwrap(), Default::default());

    other.collect_garbage(&Keep::default()).unwrap();
    for directory in ["blobs", "images", "partial", "staging", "trees"] {
        assert_eq!(place.names(directory), [""; 0]);
    }
    // And everything can be had again.
    assert!(install(&place, "kept").await.extracted.is_some());
}

#[tokio::test]
async fn nothing_is_collected_while_an_image_is_added() {
    let place = Place::new();
    let image = Image::single(&[Tar::new().file("a", "1")]);
    image.write_layout(&place.path("layout"));
    let store = place.store.clone();
    let tried = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let results = std::sync::Arc::clone(&tried);
    let installer = place.installer().progress(move |_| {
        let busy = matches!(store.collect_garbage(&Keep::default()), Err(StoreError::Busy));
        // One that opens the store meanwhile removes nothing either.
        results.lock().unwrap().push(busy);
    });
    let installed = installer.from_layout(place.path("layout"), image.digest).await.unwrap();
    let mut tried = tried.lock().unwrap().clone();
    // The last event is told when all is done.
    tried.pop();
    assert!(!tried.is_empty() && tried.iter().all(|busy| *busy), "{tried:?}");
    assert!(installed.lease.rootfs().join("a").exists());
}

#[tokio::test]
async fn what_was_forked_meanwhile_holds_nothing() {
    let place = Place::new();
    let image = Image::single(&[Tar::new().file("a", "1")]);
    image.write_layout(&place.path("layout"));
    let (root, copies) = (place.path("store"), std::sync::Arc::new(std::sync::Mutex::new(Vec::new())));
    let forked = std::sync::Arc::clone(&copies);
    let fork = move || forked.lock().unwrap().extend(copies_below(&root));
    let installed = place.installer().progress({
        let fork = fork.clone();
        move |_| fork()
    });
    let installed = installed.from_layout(place.path("layout"), image.digest).await.unwrap();
    fork();
    let copied: Vec<_> = copies.lock().unwrap().iter().map(|(path, _)| path.clone()).collect();
    for held in [place.path("store/lock"), installed.lease.rootfs().parent().unwrap().to_owned()] {
        assert!(copied.contains(&held), "{copied:?}");
    }
    // Nobody adds, and the lease is held by its owner.
    let other = Store::open(place.path("store")).unwrap();
    let collected = other.collect_garbage(&Keep::default()).unwrap();
    assert_eq!((collected.trees, collected.leased), (0, 1));
    drop(installed);
    let collected = other.collect_garbage(&Keep::default()).unwrap();
    assert_eq!((collected.trees, collected.leased), (1, 0));
    for directory in ["partial", "staging", "trees"] {
        assert_eq!(place.names(directory), [""; 0]);
    }
}

/// What a process that is forked now has of this one's open files, until it runs its own program.
fn copies_below(root: &Path) -> Vec<(std::path::PathBuf, std::os::fd::OwnedFd)> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};

    let this = pidfd_open(getpid(), PidfdFlags::empty()).unwrap();
    let listed: Vec<_> = fs::read_dir("/proc/self/fd").unwrap().map(|entry| entry.unwrap().path()).collect();
    let copied = listed.into_iter().filter_map(|entry| {
        // What other tests have open may be gone by now.
        let path = fs::read_link(&entry).ok().filter(|path| path.starts_with(root))?;
        let number = entry.file_name()?.to_str()?.parse().ok()?;
        Some((path, pidfd_getfd(&this, number, PidfdGetfdFlags::empty()).ok()?))
    });
    copied.collect()
}

#[tokio::test]
async fn changed_trees_are_not_leased() {
    type Change = fn(&Path);
    let changes: &[(&str, Change, bool)] = &[
        ("nothing", |_| {}, true),
        ("content", |root| rewrite(&root.join("base"), "evil"), false),
        ("a file more", |root| writable(root, || fs::write(root.join("new"), "").unwrap()), false),
        ("a file less", |root| writable(root, || fs::remove_file(root.join("base")).unwrap()), false),
        ("a mode", |root| mode(&root.join("base"), 0o4555), false),
        ("a directory's mode", |root| mode(&root.join("d"), 0o777), false),
        ("executable", |root| mode(&root.join("base"), 0o555), false),
        (
            "a symlink's target",
            |root| {
                writable(root, || {
                    fs::remove_file(root.join("l")).unwrap();
                    symlink("/etc", root.join("l")).unwrap();
                });
            },
            false,
        ),
        (
            "a socket",
            |root| writable(root, || drop(std::os::unix::net::UnixListener::bind(root.join("s")).unwrap())),
            false,
        ),
    ];
    for (case, change, is_leased) in changes {
        let place = Place::new();
        let Installed { tree, lease, .. } = install(&place, "image").await;
        change(lease.rootfs());
        drop(lease);
        let leased = place.store.lease(tree);
        assert_eq!(leased.is_ok(), *is_leased, "{case}: {leased:?}");
        assert!(!matches!(leased, Err(LeaseError::Missing(_) | LeaseError::Io { .. })), "{case}: {leased:?}");
        // Installing it again repairs it.
        let repaired = install(&place, "image").await;
        assert_eq!((repaired.tree, repaired.extracted.is_none()), (tree, *is_leased), "{case}");
    }
}

#[test]
fn a_store_that_others_can_write_to_is_not_used() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    drop(Store::open(&store).unwrap());
    for (directory, modes) in
        [("", [0o755, 0o775, 0o1777]), ("trees", [0o711, 0o731, 0o713]), ("blobs", [0o700, 0o720, 0o702])]
    {
        let directory = store.join(directory);
        for (index, bits) in modes.into_iter().enumerate() {
            mode(&directory, bits);
            match (Store::open(&store), index) {
                (Ok(_), 0) => {}
                (Err(StoreError::OthersCanWrite { path }), 1..) => assert_eq!(path, directory),
                (other, _) => panic!("{} {bits:o}: {other:?}", directory.display()),
            }
        }
        mode(&directory, modes[0]);
    }
    let link = dir.path().join("link");
    symlink(&store, &link).unwrap();
    Store::open(&link).unwrap();
}

/// With the same size and times as before, as somebody would who wants it not to be seen.
fn rewrite(file: &Path, content: &str) {
    let before = fs::metadata(file).unwrap();
    mode(file, 0o644);
    fs::write(file, content).unwrap();
    fs::File::options().write(true).open(file).unwrap().set_modified(before.modified().unwrap()).unwrap();
    mode(file, 0o444);
    assert_eq!(before.len(), fs::metadata(file).unwrap().len());
}

fn writable(directory: &Path, change: impl FnOnce()) {
    mode(directory, 0o755);
    change();
    mode(directory, 0o555);
}

fn mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}
