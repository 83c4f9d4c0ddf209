//! The pins of one server as the aggregator asks them.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

use gigmcp_mcp::{BoxFuture, Definition, DefinitionKind, Pins, PinsUnknown, Process, Standing};

use super::{
    budget::Budget,
    judge::{PinKey, Reading, within},
};
use crate::{
    output::{harmless, whole},
    spec::{Definitions, ServerName},
    store::{Asker, PinnedServer, Profile, Store},
};

/// The pins of one server of a profile.
pub(crate) struct KeptPins {
    store: Store,
    of: PinnedServer,
    revision: i64,
    definitions: Definitions,
    /// Of the pins in the database, as seen last.
    generation: AtomicU64,
    /// Of what is written down.
    budget: Mutex<Budget>,
    /// What the operator was told of last.
    told: Mutex<Vec<(PinKey, Standing)>>,
}

impl KeptPins {
    pub(crate) fn new(store: &Store, profile: &Profile, server: ServerName, revision: i64) -> Self {
        let definitions = profile.settings.of_server(&server).definitions;
        Self {
            store: store.in_turn_of(Asker::Profile(profile.slug.clone())),
            of: PinnedServer { owner: profile.owner.clone(), server },
            revision,
            definitions,
            generation: AtomicU64::new(0),
            budget: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// Whether the pins are not those that were seen before.
    pub(crate) fn saw(&self, generation: u64) -> bool {
        self.generation.swap(generation, Ordering::AcqRel) != generation
    }

    async fn standings(&self, said: &[Arc<Definition>], process: Process) -> Result<Vec<Standing>, PinsUnknown> {
        let server = &self.of.server;
        let judged = match self.definitions {
            Definitions::Pin => {
                let noted = self.budget().is_left(Instant::now());
                let reading = Reading { revision: self.revision, said: said.into(), process, noted };
                let judged = self.store.judge(self.of.clone(), reading).await;
                judged.map(|judged| {
                    let verdicts = judged.filter(|verdicts| !verdicts.is_premature())?;
                    if verdicts.is_news() {
                        self.budget().spend();
                    }
                    Some(verdicts.standings)
                })
            }
            Definitions::Follow => self.store.server(server.clone()).await.map(|row| {
                let bounds = row.spec.tools;
                let within = said.iter().map(|said| within(&bounds, said));
                let standings = within.map(|within| if within { Standing::Agreed } else { Standing::Barred });
                (row.revision == self.revision).then(|| standings.collect())
            }),
        };
        match judged {
            Ok(Some(standings)) => Ok(standings),
            Ok(None) if process == Process::Kept => Err(PinsUnknown),
            Ok(None) => {
                tracing::info!(%server, "it was changed, or is not agreed to any more");
                Err(PinsUnknown)
            }
            Err(error) => {
                tracing::error!(%server, "what is agreed to is not known: {}", whole(&error));
                Err(PinsUnknown)
            }
        }
    }

    fn budget(&self) -> std::sync::MutexGuard<'_, Budget> {
        self.budget.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Once, and not whenever a list is read.
    fn tell(&self, said: &[Arc<Definition>], standings: &[Standing]) {
        let held = said.iter().zip(standings).filter(|(_, standing)| **standing != Standing::Agreed);
        let held: Vec<_> = held.map(|(said, standing)| (PinKey::of(said), *standing)).collect();
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if *told == held {
            return;
        }
        let barred = held.iter().filter(|(_, standing)| *standing == Standing::Barred).count();
        let waiting = held.len() - barred;
        let (server, owner) = (&self.of.server, self.of.owner.as_str());
        if barred > 0 {
            tracing::warn!(%server, "{barred} of its tools are not offered: its manifest has none such");
        }
        if waiting > 0 {
            tracing::warn!(
                %server, owner,
                "{waiting} of its definitions are held back, as nobody agreed to them; see `gigmcp-gateway pin diff {server}`"
            );
        }
        *told = held;
    }
}

impl std::fmt::Debug for KeptPins {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("KeptPins")
            .field("of", &self.of)
            .field("revision", &self.revision)
            .finish_non_exhaustive()
    }
}

impl Pins for KeptPins {
    fn judge<'a>(
        &'a self,
        said: &'a [Arc<Definition>],
        process: Process,
    ) -> BoxFuture<'a, Result<Vec<Standing>, PinsUnknown>> {
        Box::pin(async move {
            let standings = self.standings(said, process).await?;
            if process == Process::First {
                self.tell(said, &standings);
            }
            Ok(standings)
        })
    }

    fn revision(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn follows(&self) -> bool {
        self.definitions == Definitions::Follow
    }

    fn advice(&self, held: &Definition, standing: Standing) -> String {
        let server = &self.of.server;
        let name = match held.kind {
            DefinitionKind::Instructions if held.name.is_empty() => held.kind.as_str().to_owned(),
            _ => harmless(&held.name),
        };
        match standing {
            Standing::Barred => format!("the manifest of {server} has none such"),
            _ => format!(
                "its owner sees the difference by `gigmcp-gateway pin diff {server} {name}`, and approves it by `gigmcp-gateway pin accept {server} {name}`"
            ),
        }
    }
}
