//! Published attacks by servers, each played to a real [`Aggregator`](gigmcp_mcp::Aggregator), and what came of it.
//!
//! An attack is a file under `attacks/`: what the servers say, what a client asks for, and what it must and must not see. Its
//! twin is the same with only the attack taken out of the text, and must pass with nothing found. `ATTACKS.md` is what the run
//! has seen.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
#![allow(dead_code, reason = "other tests use other parts of what plays a server")]

#[path = "../it/played.rs"]
mod played;
#[path = "../it/scripted.rs"]
mod scripted;

mod attack;
mod client;
mod report;
mod run;

use attack::Attack;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_attack_comes_to_what_is_kept() {
    let mut lines = Vec::new();
    for attack in Attack::all() {
        let seen = run::attack(&attack).await;
        run::twin(&attack).await;
        lines.push(report::Line { attack, seen });
    }
    report::check(lines);
}
