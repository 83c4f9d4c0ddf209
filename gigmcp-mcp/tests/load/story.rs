//! The story, told twice: as it should end, and with a leak that has to be found.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{sync::Semaphore, task::JoinSet};

use crate::{
    chance::Chance,
    client::{Client, Era, Manner, NOT_ASKED, Told},
    gateway::MAX_RESUMABLE_BYTES,
    process::{Account, Gateway},
    server::MOODS,
    slope::slope,
};

pub(crate) fn check() {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let kept = runtime.block_on(tell(ROUNDS, 0));
    let leaked = runtime.block_on(tell(ROUNDS / 2, LEAK_BYTES));
    println!("kept of each call: {kept:?}; when {LEAK_BYTES} bytes are meant to be: {leaked:?}");
    assert!(!kept.is_leak(), "bytes a call are not given back: {kept:?}");
    assert!(leaked.is_leak(), "twin: a leak of {LEAK_BYTES} bytes a call is not seen: {leaked:?}");
    // What the allocator cannot use again comes on top, and goes in pages.
    assert!(kept.resident < RESIDENT_BYTES, "the process grows: {kept:?}");
}

/// By how many bytes more after each call.
#[derive(Clone, Copy, Debug)]
struct Growth {
    /// What was allocated and not given back.
    heap: f64,
    resident: f64,
}

impl Growth {
    /// More than noise: tables double now and then, and buffers of connections grow with what they have carried.
    fn is_leak(self) -> bool {
        self.heap > LEAK_BYTES as f64 / 2.0
    }
}

async fn tell(rounds: usize, leak: usize) -> Growth {
    let mut gateway = Gateway::start(leak);
    let base = base(&mut gateway).await;
    let mut chance = Chance::new(20_261_130);
    let mut clients = Vec::new();
    for number in 0..CLIENTS {
        let era = if number % 2 == 0 { Era::Sessions } else { Era::Stateless };
        clients.push(Client::begin(gateway.address, number, era).await);
    }
    let sessions = clients.iter().filter(|client| client.has_session()).count();
    assert!(clients.len() == CLIENTS && sessions == CLIENTS / 2);
    let mut told = BTreeMap::<(&str, Told), usize>::new();
    let mut memory = Vec::new();
    let mut most_parked = 0;
    for round in 1..=rounds {
        clients = play(&mut gateway, clients, &mut chance, &mut told, &mut most_parked).await;
        let quiet = |account: &Account| account.held.pending == 0 && account.held.parked == 0;
        let account = gateway.comes_to("calls come to an end", quiet).await;
        assert_eq!(account.held.sessions, sessions, "twin: what is in use is kept");
        let resumable = account.held.resumable;
        assert!((1..=MAX_RESUMABLE_BYTES).contains(&resumable), "{resumable} bytes for clients that lose a connection");
        memory.push([round * CALLS, gateway.heap_bytes(), gateway.resident_bytes()].map(|count| count as f64));
    }
    judge(rounds, &told);
    assert!(most_parked > 0, "no call was ever parked");
    for client in &mut clients {
        client.end_session().await;
    }
    drop(clients);
    calm(&mut gateway).await;
    let end = gateway.comes_to("what was held is given back", |account| *account == base).await;
    assert_eq!(end, base);
    gateway.end();
    println!(
        "after each round, heap and all: {:?}",
        memory.iter().map(|[_, heap, all]| (heap, all)).collect::<Vec<_>>()
    );
    // At the beginning, buffers and tables grow to what they need.
    let later = &memory[rounds / 4..];
    let growth = |of: usize| slope(&later.iter().map(|point| (point[0], point[of])).collect::<Vec<_>>());
    Growth { heap: growth(1), resident: growth(2) }
}

/// What is held when all servers run and nobody calls.
async fn base(gateway: &mut Gateway) -> Account {
    calm(gateway).await;
    let servers = MOODS.len();
    gateway.comes_to("all run", |it| it.processes == servers && it.held.pending == 0 && it.held.sessions == 0).await;
    // The connection of whoever called last may have been on its way out.
    let mut before = gateway.account();
    gateway.comes_to("all is quiet", |account| std::mem::replace(&mut before, *account) == *account).await
}

/// Makes sure that every server runs.
async fn calm(gateway: &mut Gateway) {
    let mut client = Client::begin(gateway.address, CLIENTS, Era::Sessions).await;
    for mood in MOODS {
        while client.call(mood, Manner::Calm, None).await != Told::Token {}
    }
    client.end_session().await;
}

/// Half of the clients make a call each, many at a time.
async fn play(
    gateway: &mut Gateway,
    mut clients: Vec<Client>,
    chance: &mut Chance,
    told: &mut BTreeMap<(&'static str, Told), usize>,
    most_parked: &mut usize,
) -> Vec<Client> {
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut calls = JoinSet::new();
    for _ in 0..CALLS {
        let at = chance.below(clients.len() as u64) as usize;
        let mut client = clients.swap_remove(at);
        let (mood, manner) = part(chance);
        let patience = chance.percent(10).then(|| Duration::from_micros(chance.below(5_000)));
        let anew = chance.percent(2) && client.has_session();
        let places = Arc::clone(&places);
        calls.spawn(async move {
            let _place = places.acquire_owned().await.unwrap();
            if anew {
                client.end_session().await;
                client.open_session().await;
            }
            let told = client.call(mood, manner, patience).await;
            (client, mood, told)
        });
    }
    while let Some(done) = calls.join_next().await {
        let (client, mood, outcome) = done.unwrap();
        *told.entry((mood, outcome)).or_default() += 1;
        clients.push(client);
        *most_parked = Ord::max(*most_parked, gateway.account().held.parked);
    }
    clients
}

fn part(chance: &mut Chance) -> (&'static str, Manner) {
    match chance.below(100) {
        0..40 => ("steady", Manner::Plain),
        40..60 => ("steady", Manner::Observant),
        60..85 => ("crash", Manner::Plain),
        85..95 => ("flood", Manner::Plain),
        95..98 => ("hang", Manner::Plain),
        _ => ("ask", Manner::Plain),
    }
}

/// What may have become of calls.
fn judge(rounds: usize, told: &BTreeMap<(&str, Told), usize>) {
    let all = |mood: &str| told.iter().filter(|((of, _), _)| *of == mood).map(|(_, count)| count).sum::<usize>();
    let token = |mood: &str| told.get(&(mood, Told::Token)).copied().unwrap_or(0);
    assert_eq!(MOODS.map(all).iter().sum::<usize>(), rounds * CALLS);
    for ((mood, outcome), count) in told {
        let Told::Failed(code) = outcome else { continue };
        let expected = match *mood {
            "crash" => code.starts_with("server-"),
            "hang" => code == "server-timeout",
            // A line that is too long may have been any answer.
            "flood" => code == "server-answer-too-long",
            // The client came back too late: the machine is slow.
            "ask" => code == "-32602" || code == NOT_ASKED,
            _ => false,
        };
        assert!(expected, "{count} of {mood} failed: {code}");
    }
    assert!(told.keys().any(|(mood, outcome)| *mood == "crash" && matches!(outcome, Told::Failed(_))), "none crashed");
    assert!(MOODS.iter().all(|mood| told.contains_key(&(*mood, Told::Vanished))), "none vanished: {told:?}");
    for (mood, least) in [("steady", 75), ("crash", 50), ("flood", 50), ("ask", 50), ("hang", 0)] {
        assert!(token(mood) * 100 >= all(mood) * least, "{mood}: {told:?}");
    }
    assert_eq!(token("hang"), 0);
    println!("{told:?}");
}

const CLIENTS: usize = 1_000;
const ROUNDS: usize = 20;
/// In each round.
const CALLS: usize = 500;
const AT_ONCE: usize = 64;
const LEAK_BYTES: usize = 128;
/// Of 40,000 calls the later half grew by 45 bytes each, the first 10,000 by 180.
const RESIDENT_BYTES: f64 = 512.0;
