//! A thousand clients of both eras and ten thousand calls, while servers crash, hang and flood and clients vanish: nobody gets
//! what is another's, and nothing is kept. The gateway is a process of its own, so that what it holds can be counted from
//! outside; so is each server.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]

mod chance;
mod client;
mod gateway;
mod process;
mod server;
mod slope;
mod story;

/// Counts what is not given back.
#[global_allocator]
static ALLOCATOR: &stats_alloc::StatsAlloc<std::alloc::System> = &stats_alloc::INSTRUMENTED_SYSTEM;

/// Says which part of the story a process plays.
const PART: &str = "LOAD_PART";

fn main() {
    match std::env::var(PART).as_deref() {
        Ok("gateway") => gateway::run(),
        Ok(mood) => server::run(mood).unwrap(),
        Err(_) => tests(),
    }
}

/// The few words of the usual harness that people and CI use.
fn tests() {
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with('-')).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    for (name, test) in TESTS.iter().filter(|(name, _)| wanted(name)) {
        match std::env::args().any(|word| word == "--list") {
            true => println!("{name}: test"),
            false => {
                let clock = std::time::Instant::now();
                test();
                println!("test {name} ... ok ({:.1} s)", clock.elapsed().as_secs_f32());
            }
        }
    }
}

const TESTS: [(&str, fn()); 2] = [
    ("a_slope_is_found_and_a_step_is_none", slope::check),
    ("nothing_is_kept_and_nobody_gets_what_is_anothers", story::check),
];
