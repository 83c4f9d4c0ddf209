//! WebSocket by the libraries that most people use.

use crate::{
    custody,
    gateway::real_servers,
    world::{PROGRAMS, Way, World},
};

#[test]
fn python_and_node_talk_both_ways() {
    let python = format!("{}/python/bin/python", real_servers().display());
    let scripts = [format!("{PROGRAMS}/websocket.py"), format!("{PROGRAMS}/websocket.mjs")];
    for (way, command) in [
        (Way::Transparent, [&*python, &*scripts[0]]),
        (Way::Proxied, [&*python, &*scripts[0]]),
        (Way::Transparent, ["node", &*scripts[1]]),
    ] {
        let world = World::new();
        let mut running = world.start(way, &command);
        let release = running.held();
        let placeholder = custody::search(&world, &running);
        release.send(()).unwrap();
        let finished = running.finish().succeeded();
        let expected = format!("hello Bearer {placeholder}\ntext ä\nbinary 0001ff\nlarge 100000\nrefused\n");
        assert_eq!(finished.stdout, expected, "{command:?} {way:?}: {finished:#?}\n{:#?}", world.audit());
        let seen = world.origin.seen();
        assert_eq!(seen.len(), 2, "{seen:?}");
        assert!(seen.iter().all(|seen| seen.count(&world.key) == 1 && seen.count(&placeholder) == 0), "{seen:?}");
        assert!(!format!("{finished:?}").contains(&world.key));
    }
}
