//! Passwords: what one must be, and how it is kept.

mod line;

use std::sync::Arc;

use argon2::{Argon2, PasswordHash, PasswordHasher, PasswordVerifier};
use tokio::{sync::Semaphore, task};
use zeroize::Zeroizing;

pub(crate) use self::line::Line;
use self::line::Lines;
use super::Email;

/// What somebody typed as a password: 1 to 256 characters.
#[derive(Clone)]
pub(crate) struct Password(Zeroizing<String>);

impl Password {
    /// # Errors
    /// If it is empty or too long to have been accepted ever.
    pub(crate) fn new(text: Zeroizing<String>) -> Result<Self, WeakPassword> {
        match text.chars().take(MAX_CHARACTERS + 1).count() {
            1..=MAX_CHARACTERS => Ok(Self(text)),
            _ => Err(WeakPassword::Length),
        }
    }

    /// Whether this may become the password of that account.
    pub(crate) fn check(&self, email: &Email) -> Result<(), WeakPassword> {
        let lower = Zeroizing::new(self.0.to_lowercase());
        let distinct: std::collections::BTreeSet<char> = lower.chars().collect();
        if self.0.chars().count() < MIN_CHARACTERS {
            return Err(WeakPassword::Length);
        }
        if **lower == *email.as_str() || **lower == *email.local_part() {
            return Err(WeakPassword::Email);
        }
        match distinct.len() < MIN_DISTINCT || COMMON.contains(&lower.as_str()) {
            true => Err(WeakPassword::Common),
            false => Ok(()),
        }
    }
}

/// Why a password is not accepted.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum WeakPassword {
    #[error("a password has 12 to 256 characters")]
    Length,
    #[error("the password is the e-mail address, which others know; choose another")]
    Email,
    #[error("the password is one of those that are tried first; choose another")]
    Common,
}

/// Why a password was not hashed or compared.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum HashError {
    #[error("too many people sign in at this moment; try again in a few seconds")]
    Busy,
    #[error("the password in the database cannot be read; set a new one with `gigmcp-gateway user reset-password`")]
    Corrupt,
    #[error("the password could not be hashed")]
    Failed,
}

/// Hashes passwords away from the threads that answer requests, a few at a time.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    cost: argon2::Params,
    /// Each holds the memory of one hash.
    running: Arc<Semaphore>,
    /// Whoever waits or runs.
    queue: Arc<Semaphore>,
    /// Of those, whoever comes from where nobody signed in before: many addresses together leave room for known browsers.
    unknown: Arc<Semaphore>,
    /// Of those, how many of each line.
    lines: Lines,
    #[cfg(test)]
    hashed: Arc<std::sync::atomic::AtomicUsize>,
}

/// What a comparison showed.
pub(crate) struct Compared {
    pub(crate) right: bool,
    /// The same password by the parameters of today, if it was kept by others.
    pub(crate) renewed: Option<String>,
}

impl Hasher {
    /// With the parameters of today: RFC 9106, the second choice, with one lane.
    pub(crate) fn new() -> Self {
        Self::with_cost(argon2::Params::new(MEMORY_KIB, PASSES, 1, None).expect("they are valid"))
    }

    pub(super) fn with_cost(cost: argon2::Params) -> Self {
        Self {
            cost,
            running: Arc::new(Semaphore::new(AT_ONCE)),
            queue: Arc::new(Semaphore::new(MAX_QUEUE)),
            unknown: Arc::new(Semaphore::new(MAX_UNKNOWN)),
            lines: Lines::default(),
            #[cfg(test)]
            hashed: Arc::default(),
        }
    }

    /// What is kept of a password.
    pub(crate) async fn hash(&self, password: Password, line: &Line) -> Result<String, HashError> {
        let cost = self.cost.clone();
        self.run(line, move || hash(&password, cost)).await
    }

    /// How often something was hashed: what signing in takes its time for.
    #[cfg(test)]
    pub(super) fn hashed(&self) -> usize {
        self.hashed.load(std::sync::atomic::Ordering::SeqCst)
    }

    /// Compares a password with what is kept of one. Where nothing is kept, the work and the answer are those of a wrong one.
    pub(crate) async fn compare(
        &self,
        password: Password,
        kept: Option<String>,
        line: &Line,
    ) -> Result<Compared, HashError> {
        let cost = self.cost.clone();
        self.run(line, move || {
            let Some(kept) = kept else {
                hash(&password, cost)?;
                return Ok(Compared { right: false, renewed: None });
            };
            let parsed = PasswordHash::new(&kept).map_err(|_| HashError::Corrupt)?;
            let used = argon2::Params::try_from(&parsed).map_err(|_| HashError::Corrupt)?;
            let right = Argon2::from(cost.clone()).verify_password(password.0.as_bytes(), &parsed).is_ok();
            let same = |one: &argon2::Params, other: &argon2::Params| {
                (one.m_cost(), one.t_cost(), one.p_cost()) == (other.m_cost(), other.t_cost(), other.p_cost())
            };
            let renewed = match right && !same(&used, &cost) {
                true => Some(hash(&password, cost)?),
                false => None,
            };
            Ok(Compared { right, renewed })
        })
        .await
    }

    /// Goes on when nobody waits for it any more, and keeps its place until then.
    async fn run<T: Send + 'static>(
        &self,
        line: &Line,
        work: impl FnOnce() -> Result<T, HashError> + Send + 'static,
    ) -> Result<T, HashError> {
        let stands = self.lines.enter(line).ok_or(HashError::Busy)?;
        let enter = |places: &Arc<Semaphore>| Arc::clone(places).try_acquire_owned().map_err(|_| HashError::Busy);
        let unknown = if line.is_known { None } else { Some(enter(&self.unknown)?) };
        let queued = enter(&self.queue)?;
        let place = Arc::clone(&self.running).acquire_owned().await.map_err(|_| HashError::Failed)?;
        #[cfg(test)]
        self.hashed.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        let done = task::spawn_blocking(move || {
            let _places = (stands, unknown, queued, place);
            work()
        });
        done.await.map_err(|_| HashError::Failed)?
    }
}

fn hash(password: &Password, cost: argon2::Params) -> Result<String, HashError> {
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|_| HashError::Failed)?;
    let hashed = Argon2::from(cost).hash_password_with_salt(password.0.as_bytes(), &salt);
    hashed.map(|hash| hash.to_string()).map_err(|_| HashError::Failed)
}

const MIN_CHARACTERS: usize = 12;
/// So that nobody makes us hash megabytes.
const MAX_CHARACTERS: usize = 256;
const MIN_DISTINCT: usize = 5;
const MEMORY_KIB: u32 = 64 << 10;
const PASSES: u32 = 3;
/// How many hash at once: 64 MiB and a core each.
const AT_ONCE: usize = 2;
/// How many may wait for it.
const MAX_QUEUE: usize = 32;
/// How many of them may be of lines of which nobody is known.
const MAX_UNKNOWN: usize = MAX_QUEUE - MAX_LINE;
/// How many of them may be of one line: what one address does leaves room for others.
const MAX_LINE: usize = 8;

/// Those of 12 characters and more that lists of leaked passwords begin with. In lower case.
const COMMON: [&str; 44] = [
    "0123456789ab",
    "012345678901",
    "0987654321qwerty",
    "1111aaaa2222bbbb",
    "123123123abc",
    "1234567890ab",
    "1234567890123",
    "123456789012",
    "123456789abc",
    "1234567890qwerty",
    "123456qwerty",
    "1234qwerasdf",
    "12345qwerasdf",
    "1q2w3e4r5t6y",
    "1q2w3e4r5t6y7u8i",
    "1qaz2wsx3edc",
    "1qaz2wsx3edc4rfv",
    "abc123abc123",
    "abcd1234abcd",
    "abcdefghijkl",
    "admin1234567",
    "adminadminadmin",
    "administrator",
    "administrator1",
    "asdfghjkl123",
    "asdfghjklqwertyuiop",
    "changeme1234",
    "changemenow1",
    "correcthorsebatterystaple",
    "iloveyou1234",
    "letmein12345",
    "letmeinplease",
    "p@ssw0rd1234",
    "passw0rd1234",
    "password1234",
    "password12345",
    "password123456",
    "passwordpassword",
    "qwerty123456",
    "qwertyuiop12",
    "qwertyuiop123",
    "qwertyuiopasdf",
    "welcome12345",
    "zaq12wsxcde3",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(Zeroizing::new(text.to_owned())).expect("it is short")
    }

    fn anybody() -> Line {
        Line::of(&())
    }

    fn cheap(passes: u32) -> Hasher {
        Hasher::with_cost(argon2::Params::new(64, passes, 1, None).expect("they are valid"))
    }

    #[test]
    fn what_is_tried_first_is_no_password() {
        let email: Email = "margaret.hamilton@example.com".parse().expect("an address");
        for (case, text, expected) in [
            ("twin", "Apollo 11 1202 alarm", Ok(())),
            ("just long enough", "x8!kQ2m#Lp9z", Ok(())),
            ("too short", "x8!kQ2m#Lp9", Err(WeakPassword::Length)),
            ("few bytes are not meant, but few characters", "\u{e9}8!kQ2m#Lp9z", Ok(())),
            ("the address", "Margaret.Hamilton@example.com", Err(WeakPassword::Email)),
            ("its name", "margaret.HAMILTON", Err(WeakPassword::Email)),
            ("common", "PasswordPassword", Err(WeakPassword::Common)),
            ("one character", "aaaaaaaaaaaaaaaa", Err(WeakPassword::Common)),
        ] {
            assert_eq!(password(text).check(&email), expected, "{case}");
        }
        let long = |count| Password::new(Zeroizing::new("\u{e9}".repeat(count))).map(drop);
        assert_eq!((long(256), long(257), long(0)), (Ok(()), Err(WeakPassword::Length), Err(WeakPassword::Length)));
        assert!(COMMON.iter().all(|common| common.len() >= MIN_CHARACTERS && **common == common.to_lowercase()));
    }

    #[tokio::test]
    async fn only_the_password_that_was_kept_is_right() {
        let hasher = cheap(1);
        let kept = hasher.hash(password("the right one"), &anybody()).await.expect("a hash");
        assert!(kept.starts_with("$argon2id$v=19$"), "{kept}");
        assert_ne!(kept, hasher.hash(password("the right one"), &anybody()).await.expect("a hash"), "salted");
        for (given, right) in [("the right one", true), ("the wrong one", false), ("The right one", false)] {
            let compared =
                hasher.compare(password(given), Some(kept.clone()), &anybody()).await.expect("it can be compared");
            assert_eq!((compared.right, compared.renewed), (right, None), "{given}");
        }
        let none = hasher.compare(password("the right one"), None, &anybody()).await.expect("it takes the same steps");
        assert!(!none.right && none.renewed.is_none());
        let corrupt = hasher.compare(password("the right one"), Some("x".to_owned()), &anybody()).await;
        assert_eq!(corrupt.err(), Some(HashError::Corrupt));
    }

    #[tokio::test]
    async fn a_password_of_other_parameters_is_hashed_anew_when_it_is_right() {
        let kept = cheap(1).hash(password("the right one"), &anybody()).await.expect("a hash");
        let today = cheap(2);
        let compare = async |given: &str, kept: &str| {
            today.compare(password(given), Some(kept.to_owned()), &anybody()).await.expect("it can be compared")
        };
        assert!(compare("the wrong one", &kept).await.renewed.is_none(), "twin");
        let renewed = compare("the right one", &kept).await.renewed.expect("it has other parameters");
        let again = compare("the right one", &renewed).await;
        assert!(again.right && again.renewed.is_none());
    }

    #[tokio::test]
    async fn more_than_can_wait_are_turned_away() {
        let hasher = cheap(1);
        let places = hasher.running.clone().acquire_many_owned(AT_ONCE as u32).await.expect("all of them");
        let waits = |line: usize| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.hash(password("x"), &Line::of(&line)).await })
        };
        let until = async |free: usize| {
            while hasher.queue.available_permits() > free {
                task::yield_now().await;
            }
        };
        let mut waiting: Vec<_> = (0..MAX_LINE).map(|_| waits(0)).collect();
        until(MAX_QUEUE - MAX_LINE).await;
        let of_line = async |line: usize| hasher.hash(password("x"), &Line::of(&line)).await.err();
        assert_eq!(of_line(0).await, Some(HashError::Busy), "its places are taken, and not those of others");
        waiting.extend((MAX_LINE..MAX_UNKNOWN).map(waits));
        until(MAX_QUEUE - MAX_UNKNOWN).await;
        assert_eq!(of_line(MAX_QUEUE).await, Some(HashError::Busy), "all places of the unknown are taken");
        let known = |device: usize| {
            let hasher = hasher.clone();
            tokio::spawn(async move { hasher.hash(password("x"), &Line::of_known(&device)).await })
        };
        waiting.extend((MAX_UNKNOWN..MAX_QUEUE).map(known)); // twin: there is room for known browsers
        until(0).await;
        assert_eq!(known(0).await.expect("no panic").err(), Some(HashError::Busy), "all places are taken");
        drop(places);
        for waits in waiting.drain(..) {
            waits.await.expect("no panic").expect("twin: those who waited are served");
        }
        assert_eq!(of_line(0).await, None, "twin: its places are free again");
        assert!(hasher.lines.is_empty());
    }

    #[tokio::test]
    async fn the_parameters_of_today_work() {
        let kept = Hasher::new().hash(password("the right one"), &anybody()).await.expect("a hash");
        assert!(kept.starts_with("$argon2id$v=19$m=65536,t=3,p=1$"), "{kept}");
    }
}
