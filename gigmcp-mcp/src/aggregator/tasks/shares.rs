//! How much each server and each client takes up of what is kept of tasks: neither leaves nothing to the others.

use std::{collections::HashMap, hash::Hash, sync::Arc};

/// Whose a task is; nobody's, if nobody has said.
pub(in crate::aggregator) type Owner = Option<Arc<str>>;

/// What is taken up, by server and by owner. Servers have nothing in common, and an owner gets a quarter of a server's.
#[derive(Debug)]
pub(in crate::aggregator) struct Shares<S> {
    of_server: usize,
    taken: HashMap<S, HashMap<Owner, usize>>,
}

impl<S: Clone + Eq + Hash> Shares<S> {
    /// With so much for each server.
    pub(in crate::aggregator) fn new(of_server: usize) -> Self {
        Self { of_server, taken: HashMap::new() }
    }

    /// Takes one place; whether there was one.
    pub(in crate::aggregator) fn take(&mut self, server: &S, owner: &Owner) -> bool {
        let taken = self.taken.entry(server.clone()).or_default();
        let own = taken.get(owner).copied().unwrap_or_default();
        if own >= self.of_server / 4 || taken.values().sum::<usize>() >= self.of_server {
            return false;
        }
        taken.insert(owner.clone(), own + 1);
        true
    }

    /// Gives one back.
    pub(in crate::aggregator) fn give_back(&mut self, server: &S, owner: &Owner) {
        let Some(taken) = self.taken.get_mut(server) else { return };
        if let Some(own) = taken.get_mut(owner) {
            *own -= 1;
            if *own == 0 {
                taken.remove(owner);
            }
        }
        if taken.is_empty() {
            self.taken.remove(server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_server_nor_an_owner_takes_what_is_anothers() {
        let mut shares = Shares::new(8);
        let owner = |name: &str| Some(Arc::<str>::from(name));
        for (server, who, expected) in [
            (1, "a", [true, true, false]),
            (1, "b", [true, true, false]),
            (1, "c", [true, true, false]),
            (1, "d", [true, true, false]),
            (1, "e", [false; 3]),          // the server's is used up
            (2, "a", [true, true, false]), // twin: another server's is not
        ] {
            assert_eq!([(); 3].map(|()| shares.take(&server, &owner(who))), expected, "{server} {who}");
        }
        shares.give_back(&1, &owner("a"));
        assert!(!shares.take(&1, &owner("b")), "its own part is still used up");
        assert!(shares.take(&1, &owner("e")));
        for who in ["a", "b", "b", "c", "c", "d", "d", "e"] {
            shares.give_back(&1, &owner(who));
        }
        shares.give_back(&1, &owner("e"));
        assert_eq!(shares.taken.len(), 1, "nothing is kept of what was given back");
    }
}
