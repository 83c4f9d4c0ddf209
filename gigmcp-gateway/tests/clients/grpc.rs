//! gRPC by its own libraries: one answer, several, and the key in the call's metadata.

use crate::{
    custody,
    gateway::real_servers,
    world::{PROGRAMS, Way, World},
};

#[test]
fn python_and_node_call_and_listen() {
    let python = format!("{}/python/bin/python", real_servers().display());
    let scripts = [format!("{PROGRAMS}/call.py"), format!("{PROGRAMS}/call.mjs")];
    for way in Way::BOTH {
        for command in [[&*python, &*scripts[0]], ["node", &*scripts[1]]] {
            let world = World::new();
            let mut running = world.start(way, &command);
            let unary = running.line("message 0 hello");
            running.line("message 0 4");
            let release = running.held();
            let placeholder = custody::search(&world, &running);
            assert!(unary.ends_with(&format!("Bearer {placeholder}")), "{command:?} {way:?}: {unary}");
            release.send(()).unwrap();
            for number in 1..4 {
                if number > 1 {
                    running.held().send(()).unwrap();
                }
                running.line(&format!("message {number} 4 Bearer {placeholder}"));
            }
            running.line(&format!("status done for Bearer {placeholder}"));
            running.line("refused");
            let finished = running.finish().succeeded();
            assert!(!format!("{finished:?}").contains(&world.key), "{finished:#?}");
            let seen = world.origin.seen();
            assert_eq!(seen.len(), 2, "{seen:?}");
            assert!(seen.iter().all(|seen| seen.count(&world.key) == 1 && seen.count(&placeholder) == 0), "{seen:?}");
        }
    }
}
