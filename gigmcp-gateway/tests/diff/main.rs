//! The same requests to a server directly and through the gateway: what comes back is the same, to the byte, but for
//! what `explained` lists.
//!
//! Needs root, because it joins network namespaces. `./dev test` installs everything else.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod compare;
mod direct;
mod explained;
mod requests;
mod servers;
mod through;
mod tree;

// The other test binary's gateway, internet and client; each binary leaves out what it has no use for.
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/gateway.rs"]
mod gateway;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../it/internet.rs"]
mod internet;
#[allow(dead_code, reason = "shared with the other test binary")]
#[path = "../support/postgres.rs"]
mod postgres;

use crate::{
    compare::compare,
    gateway::Installation,
    internet::Internet,
    servers::{Place, Subject, fixtures, real},
    through::Through,
};

#[test]
fn the_fixture_says_the_same_through_the_gateway() {
    no_unexplained_difference(&fixtures);
}

#[test]
fn servers_that_nobody_here_wrote_say_the_same_through_the_gateway() {
    no_unexplained_difference(&real);
}

fn no_unexplained_difference(subjects: &dyn Fn(&Place) -> Vec<Subject>) {
    let (internet, installation) = (Internet::new(), Installation::new());
    let (direct, through) = (Place::new(), Place::new());
    internet.publish("/page", "<html><body><p>A page that stays the same.</p></body></html>");
    for subject in subjects(&through) {
        subject.add_to(&installation, &through);
    }
    let names: Vec<_> = subjects(&through).iter().map(|subject| subject.name).collect();
    let token = installation.profile("work", &names);
    let gateway = installation.serve(&internet, &[]);
    let mut session = Through::open(&internet, "/mcp/p/work", &token);
    let mut unexplained = Vec::new();
    for subject in subjects(&direct) {
        let mut server = subject.start(&internet, &direct);
        unexplained.extend(compare(&subject, &mut server, &mut session, (&direct, &through)));
    }
    assert!(
        unexplained.is_empty(),
        "{} differences:\n{}\n{}",
        unexplained.len(),
        unexplained.join("\n"),
        gateway.log()
    );
}
