//! What was said of a server in its profile.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use crate::spec::{MemberSettings, ProfileSettings};

/// What holds of a server as long as its profile says nothing else.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Defaults {
    /// How long a server may take to answer its first message.
    pub(crate) start_timeout: Duration,
    /// How long it runs without being called, if not for ever.
    pub(crate) idle: Option<Duration>,
}

/// What holds of a server now: its profile may say something else while it runs.
#[derive(Debug)]
pub(crate) struct Terms(Mutex<Said>);

#[derive(Clone, Copy, Debug)]
struct Said {
    idle: Option<Duration>,
    of_profile: usize,
}

impl Terms {
    pub(super) fn new(defaults: Defaults, profile: &ProfileSettings, member: &MemberSettings) -> Self {
        Self(Mutex::new(said(defaults, profile, member)))
    }

    pub(super) fn set(&self, defaults: Defaults, profile: &ProfileSettings, member: &MemberSettings) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = said(defaults, profile, member);
    }

    /// How long it runs without being called, if not for ever.
    pub(super) fn idle(&self) -> Option<Duration> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).idle
    }

    /// How many processes the servers of its profile may have together.
    pub(super) fn of_profile(&self) -> usize {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).of_profile
    }
}

fn said(defaults: Defaults, profile: &ProfileSettings, member: &MemberSettings) -> Said {
    let idle = match member.idle_seconds {
        None => defaults.idle,
        Some(seconds) => (seconds > 0).then(|| Duration::from_secs(seconds.into())),
    };
    let of_profile = profile.max_servers.map_or(MAX_OF_PROFILE, |max| usize::try_from(max.get()).unwrap_or(usize::MAX));
    Said { idle, of_profile }
}

/// Processes of one profile; so that none takes all of the places there are.
const MAX_OF_PROFILE: usize = 32;
