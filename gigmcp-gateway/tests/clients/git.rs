//! `git` over https: a private repository, with the placeholder as a password.

use crate::{
    custody,
    world::{Way, World},
};

/// A credential helper of one line; everything else is as a user would type it.
const PREPARE: &str = r#"
set -e
cd /tmp
git config --global credential.helper '!f() { echo username=me; echo "password=$API_KEY"; }; f'
git config --global user.name me
git config --global user.email me@example.com
"#;

#[test]
fn a_private_repository_is_cloned_and_pushed_to() {
    let script = r#"
git clone --quiet https://api.example.com/git/project
cd project
cat file
head -c 300000 /dev/urandom >large
git add large
git commit --quiet --message=second
# More than it keeps in memory: sent in chunks.
git -c http.postBuffer=65536 push --quiet origin HEAD:main
git push --quiet "https://me:$API_KEY@api.example.com/git/project" HEAD:refs/heads/other
git rev-parse HEAD
if git clone --quiet https://evil.test/git/project elsewhere; then echo cloned; else echo refused; fi
"#;
    for way in Way::BOTH {
        let world = World::new();
        let repository = world.origin.repository("project");
        let script = format!("{PREPARE}{script}");
        let mut running = world.start(way, &["sh", "-c", &script]);
        // What is there, and then the objects.
        let release = running.held();
        let placeholder = custody::search(&world, &running);
        release.send(()).unwrap();
        running.held().send(()).unwrap();
        let finished = running.finish().succeeded();
        let lines: Vec<&str> = finished.stdout.lines().collect();
        assert_eq!((lines[0], lines[2]), ("main of the origin", "refused"), "{finished:#?}");
        for branch in ["main", "other"] {
            let head = std::fs::read_to_string(repository.join("refs/heads").join(branch)).unwrap();
            assert_eq!(head.trim(), lines[1], "{branch}: {finished:#?}");
        }
        assert!(!format!("{finished:?}").contains(&world.key));
        let seen = world.origin.seen();
        assert!(seen.iter().all(|seen| seen.host == "api.example.com" && seen.count(&placeholder) == 0), "{seen:?}");
        assert!(seen.iter().any(|seen| seen.headers.contains_key("transfer-encoding") || seen.body.len() > 65536));
    }
}

/// `G11`: git compresses what it asks once that is long, here by the names of the many commits that it has.
#[test]
fn a_fetch_with_a_compressed_request_succeeds() {
    let script = r#"
git clone --quiet --single-branch https://api.example.com/git/project
cd project
for number in $(seq 60); do git commit --quiet --allow-empty --message=$number; done
GIT_TRACE_CURL=/tmp/trace git fetch --quiet origin topic
git show FETCH_HEAD:file
grep -ci 'Send header: Content-Encoding: gzip' /tmp/trace
"#;
    for way in Way::BOTH {
        let world = World::new();
        world.origin.repository("project");
        let script = format!("{PREPARE}{script}");
        let finished = world.start(way, &["sh", "-c", &script]).finish_with_all_answers().succeeded();
        assert_eq!(finished.stdout, "topic of the origin\n1\n", "{way:?}: {finished:#?}");
    }
}
