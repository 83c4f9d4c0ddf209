//! When certificates end, told in time to renew them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustls::pki_types::CertificateDer;
use x509_cert::{Certificate, der::Decode};

/// When the first certificate of a chain to end begins and ends, in seconds since 1970.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Expiry {
    begins: u64,
    ends: u64,
}

/// What was told of a certificate already.
#[derive(Debug, Default)]
pub(crate) struct Reminder(Option<Told>);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Told {
    of: Expiry,
    at: u64,
    is_over: bool,
}

/// What there is to say of a certificate.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    Good,
    /// It has so many seconds left.
    Ending(u64),
    Over,
}

impl Expiry {
    /// Of the certificate in the chain that ends first; none if none says.
    pub(super) fn of(chain: &[CertificateDer<'_>]) -> Option<Self> {
        let each = chain.iter().filter_map(|certificate| {
            let validity = Certificate::from_der(certificate).ok()?.tbs_certificate.validity;
            let seconds = |time: x509_cert::time::Time| time.to_unix_duration().as_secs();
            Some(Self { begins: seconds(validity.not_before), ends: seconds(validity.not_after) })
        });
        each.min_by_key(|expiry| expiry.ends)
    }

    pub(super) fn at(self) -> u64 {
        self.ends
    }

    fn standing(self, now: u64) -> Standing {
        // Some certificates live for six days, and are renewed in the last third.
        let soon = WARNING.as_secs().min(self.ends.saturating_sub(self.begins) / 4);
        match self.ends.checked_sub(now) {
            None | Some(0) => Standing::Over,
            Some(left) if left <= soon => Standing::Ending(left),
            Some(_) => Standing::Good,
        }
    }
}

impl Reminder {
    /// Tells the log of a certificate that ends soon, or has: when that is found, and once a day.
    pub(super) fn remind(&mut self, expiry: Option<Expiry>, now: SystemTime) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        match self.due(expiry, now) {
            None | Some(Standing::Good) => {}
            Some(Standing::Ending(left)) => tracing::warn!(
                "TLS: the certificate of GIG_TLS_CERT_FILE expires in {}; renew it, the new file is read as soon as it is there",
                in_words(left)
            ),
            Some(Standing::Over) => {
                tracing::error!("TLS: the certificate of GIG_TLS_CERT_FILE has expired; clients refuse it. Renew it");
            }
        }
    }

    fn due(&mut self, expiry: Option<Expiry>, now: u64) -> Option<Standing> {
        let of = expiry?;
        let standing = of.standing(now);
        if standing == Standing::Good {
            self.0 = None;
            return None;
        }
        let is_over = standing == Standing::Over;
        let is_new = |told: Told| told.of != of || told.is_over != is_over || now.abs_diff(told.at) >= AGAIN.as_secs();
        self.0.is_none_or(is_new).then(|| {
            self.0 = Some(Told { of, at: now, is_over });
            standing
        })
    }
}

fn in_words(seconds: u64) -> String {
    match seconds / 3600 {
        hours if hours >= 48 => format!("{} days", hours / 24),
        hours => format!("{hours} hours"),
    }
}

/// More than whoever renews at a third of 90 days needs, and time to see it.
const WARNING: Duration = Duration::from_secs(14 * 86400);
const AGAIN: Duration = Duration::from_secs(86400);

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 86400;

    #[test]
    fn the_first_certificate_of_the_chain_to_end_counts() {
        let of = |year: i32| {
            let mut wanted = rcgen::CertificateParams::new(["gig.test".to_owned()]).expect("a name");
            wanted.not_before = rcgen::date_time_ymd(2026, 1, 1);
            wanted.not_after = rcgen::date_time_ymd(year, 1, 1);
            let key = rcgen::KeyPair::generate().expect("a key");
            wanted.self_signed(&key).expect("a certificate").der().clone()
        };
        let begins = 1_767_225_600;
        let expected = Some(Expiry { begins, ends: 1_798_761_600 });
        assert_eq!(Expiry::of(&[of(2027)]), expected);
        assert_eq!(Expiry::of(&[of(2060), of(2027)]), expected, "an intermediate");
        // From 2050 on the time is written otherwise.
        assert_eq!(Expiry::of(&[of(2060)]).map(|expiry| expiry.ends), Some(2_840_140_800));
        assert_eq!(Expiry::of(&[CertificateDer::from(vec![0x30])]), None, "what does not say is not told of");
    }

    #[test]
    fn what_ends_soon_is_told_of_once_a_day() {
        let long = Expiry { begins: 0, ends: 365 * DAY };
        let short = Expiry { begins: 0, ends: 6 * DAY };
        for (case, expiry, now, expected) in [
            ("twin", long, 300 * DAY, Standing::Good),
            ("two weeks", long, 351 * DAY, Standing::Ending(14 * DAY)),
            ("the last second", long, 365 * DAY - 1, Standing::Ending(1)),
            ("over", long, 365 * DAY, Standing::Over),
            ("long over", long, 400 * DAY, Standing::Over),
            ("twin: one of few days", short, 4 * DAY, Standing::Good),
            ("one of few days", short, 5 * DAY, Standing::Ending(DAY)),
        ] {
            assert_eq!(expiry.standing(now), expected, "{case}");
        }
        let mut reminder = Reminder::default();
        let mut told = |expiry, now| reminder.due(Some(expiry), now).is_some();
        assert!(!told(long, 300 * DAY));
        assert!(told(long, 360 * DAY));
        assert!(!told(long, 360 * DAY + 5), "five seconds later");
        assert!(told(long, 361 * DAY), "a day later");
        assert!(told(Expiry { begins: 0, ends: 366 * DAY }, 361 * DAY + 5), "another one");
        assert!(told(long, 365 * DAY), "its end");
        assert!(!told(Expiry { begins: 0, ends: 500 * DAY }, 365 * DAY), "twin: renewed");
        assert!(told(long, 365 * DAY + 5), "and taken back");
    }

    #[test]
    fn times_are_told_as_people_say_them() {
        for (seconds, expected) in
            [(14 * DAY, "14 days"), (2 * DAY, "2 days"), (47 * 3600, "47 hours"), (59, "0 hours")]
        {
            assert_eq!(in_words(seconds), expected);
        }
    }
}
