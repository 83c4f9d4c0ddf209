//! The table of sessions against a simple list of them.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a broken law")]

use super::*;
use crate::{
    LATEST_LEGACY,
    http::body::{Received, stream},
};

const MAX: usize = 4;
const MAX_PER_PRINCIPAL: usize = 2;
const IDLE: Duration = Duration::from_secs(60);

/// Each two bytes are something that a client does, and which client and session.
pub fn mcp_sessions(input: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async {
        let mut world = World::new();
        for step in input.chunks_exact(2).take(200) {
            tokio::time::advance(Duration::from_millis(1)).await; // so that no two were used at the same time
            world.step(step[0], usize::from(step[1])).await;
        }
    });
}

/// What the table should be.
struct Known {
    principal: usize,
    id: String,
    used: Instant,
    session: Arc<Session>,
    listening: Option<Received>,
}

struct World {
    sessions: Sessions,
    principals: [Principal; 3],
    known: Vec<Known>,
    /// Ids of sessions that are over.
    over: Vec<(usize, String, Arc<Session>)>,
}

impl Known {
    fn is_over(&self) -> bool {
        self.used.elapsed() >= IDLE && self.listening.is_none()
    }
}

impl World {
    fn new() -> Self {
        let limits = StreamableHttpLimits {
            max_sessions: MAX,
            max_sessions_per_principal: MAX_PER_PRINCIPAL,
            session_idle: IDLE,
            ..StreamableHttpLimits::default()
        };
        let principals = ["one", "two", "three"].map(Principal::new);
        Self { sessions: Sessions::new(limits, &Shares::new(limits)), principals, known: Vec::new(), over: Vec::new() }
    }

    async fn step(&mut self, what: u8, which: usize) {
        let principal = usize::from(what >> 4) % 3;
        match what % 6 {
            0 => self.begin(principal),
            1 => self.find(principal, which),
            2 => self.end(principal, which),
            3 => tokio::time::advance(Duration::from_secs(which as u64 % 90)).await,
            4 => self.listen(which),
            _ => self.hang_up(which),
        }
        assert!(self.known.len() <= MAX);
        assert_eq!(self.sessions.lock().len(), self.known.len());
        assert!(self.known.iter().all(|known| !known.session.ended.is_cancelled()));
        for (principal, id, session) in &self.over {
            assert!(session.ended.is_cancelled());
            assert!(self.sessions.find(&self.principals[*principal], id).is_none(), "what is over stays so");
        }
    }

    fn begin(&mut self, principal: usize) {
        for at in (0..self.known.len()).rev() {
            if self.known[at].is_over() {
                self.ends(at);
            }
        }
        while self.known.iter().filter(|known| known.principal == principal).count() >= MAX_PER_PRINCIPAL {
            self.oldest_ends(|known| known.principal == principal);
        }
        while self.known.len() >= MAX {
            let count = |of: usize| self.known.iter().filter(|known| known.principal == of).count();
            let counts = [count(0), count(1), count(2)];
            let most = counts.into_iter().max();
            self.oldest_ends(|known| Some(counts[known.principal]) == most);
        }
        let id = self.sessions.begin(&self.principals[principal], LATEST_LEGACY, None).unwrap();
        let session = self.sessions.find(&self.principals[principal], &id).unwrap();
        assert!(self.known.iter().all(|known| known.id != id));
        self.known.push(Known { principal, id, used: Instant::now(), session, listening: None });
    }

    fn find(&mut self, principal: usize, which: usize) {
        let Some(at) = self.at(which) else { return };
        let found = self.sessions.find(&self.principals[principal], &self.known[at].id);
        if self.known[at].principal != principal {
            assert!(found.is_none(), "it is another's");
        } else if self.known[at].is_over() {
            assert!(found.is_none());
            self.ends(at);
        } else {
            assert!(Arc::ptr_eq(&found.unwrap(), &self.known[at].session));
            self.known[at].used = Instant::now();
        }
    }

    fn end(&mut self, principal: usize, which: usize) {
        let Some(at) = self.at(which) else { return };
        let own = self.known[at].principal == principal;
        let ended = self.sessions.end(&self.principals[principal], &self.known[at].id);
        assert_eq!(ended, own && !self.known[at].is_over());
        if own {
            self.ends(at);
        }
    }

    /// A session whose client listens is not over.
    fn listen(&mut self, which: usize) {
        let Some(at) = self.at(which) else { return };
        let (parts, received) = stream();
        let before = self.known[at].session.stream();
        self.known[at].session.listen(parts.clone());
        assert!(self.known[at].session.is_listening(&parts));
        assert!(before.is_none_or(|before| !self.known[at].session.is_listening(&before)));
        self.known[at].listening = Some(received);
    }

    fn hang_up(&mut self, which: usize) {
        let Some(at) = self.at(which) else { return };
        self.known[at].listening = None;
    }

    fn at(&self, which: usize) -> Option<usize> {
        (!self.known.is_empty()).then(|| which % self.known.len())
    }

    fn oldest_ends(&mut self, counted: impl Fn(&Known) -> bool) {
        let counted = self.known.iter().enumerate().filter(|(_, known)| counted(known));
        let (at, _) = counted.min_by_key(|(_, known)| known.used).unwrap();
        self.ends(at);
    }

    fn ends(&mut self, at: usize) {
        let Known { principal, id, session, .. } = self.known.remove(at);
        self.over.push((principal, id, session));
    }
}
