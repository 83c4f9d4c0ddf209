//! gRPC by its own libraries: one answer, several, and the key in the call's metadata.

use crate::{
    custody,
    gateway::real_servers,
    world::{Finished, PROGRAMS, Running, Way, World},
};

#[test]
fn calls_are_answered_to_their_status() {
    for_each_client(|world, running| {
        let mut running = running;
        let release = running.held();
        custody::search(world, &running);
        release.send(()).unwrap();
        running.finish_with_all_answers()
    });
}

/// Shown by order: the origin says the next message only after the client has shown the one before.
#[test]
fn each_message_arrives_before_the_next_is_sent() {
    for_each_client(|_, mut running| {
        for number in 0..MESSAGES {
            if number > 0 {
                running.held().send(()).unwrap();
            }
            running.line(&format!("message {number} {MESSAGES} Bearer "));
        }
        running.finish()
    });
}

fn for_each_client(listen: impl Fn(&World, Running<'_>) -> Finished) {
    let python = format!("{}/python/bin/python", real_servers().display());
    let scripts = [format!("{PROGRAMS}/call.py"), format!("{PROGRAMS}/call.mjs")];
    for way in Way::BOTH {
        for command in [[&*python, &*scripts[0]], ["node", &*scripts[1]]] {
            let world = World::new();
            let finished = listen(&world, world.start(way, &command)).succeeded();
            let case = format!("{command:?} {way:?}: {finished:#?}");
            let (hello, _) = finished.stdout.split_once('\n').unwrap();
            let authorization = hello.strip_prefix("message 0 hello ").unwrap_or_else(|| panic!("{case}"));
            assert!(authorization.starts_with("Bearer sk-") && !authorization.contains(&world.key), "{case}");
            let messages = (0..MESSAGES).map(|number| format!("message {number} {MESSAGES} {authorization}\n"));
            let expected = format!("{hello}\n{}status done for {authorization}\nrefused", messages.collect::<String>());
            assert!(finished.stdout.starts_with(&expected), "{case}");
            assert!(!format!("{finished:?}").contains(&world.key), "{case}");
            let seen = world.origin.seen();
            assert_eq!(seen.len(), 2, "{case} {seen:?}");
            assert!(seen.iter().all(|seen| seen.count(&world.key) == 1), "{case} {seen:?}");
        }
    }
}

const MESSAGES: u8 = 4;
