//! What is counted of connections and requests.

use std::{
    collections::BTreeMap,
    fmt::Write,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{Method, StatusCode};

use super::refused::Refused;

/// Counters since the gateway began. Labels are words of this program: nobody makes more of them by asking.
#[derive(Debug, Default)]
pub(crate) struct Stats {
    open: AtomicU64,
    accepted: AtomicU64,
    turned_away: AtomicU64,
    handshakes_failed: AtomicU64,
    tls_loads: AtomicU64,
    tls_failures: AtomicU64,
    /// In seconds since 1970; 0 if there is no certificate, or it does not say.
    tls_expires: AtomicU64,
    under_way: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
    refused: Mutex<BTreeMap<&'static str, u64>>,
    requests: Mutex<BTreeMap<(&'static str, &'static str, u16), u64>>,
    times: Mutex<BTreeMap<&'static str, Times>>,
}

/// How long the requests of one route took.
#[derive(Clone, Copy, Debug, Default)]
struct Times {
    within: [u64; BUCKETS.len()],
    count: u64,
    seconds: f64,
}

/// Why a connection was ended from our side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Ended {
    Idle,
    Unread,
    Abused,
    Pressed,
}

impl Ended {
    const ALL: [Self; 4] = [Self::Idle, Self::Unread, Self::Abused, Self::Pressed];

    fn word(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::Unread => "unread",
            Self::Abused => "abused",
            Self::Pressed => "full",
        }
    }
}

/// An open connection.
pub(super) struct Open(Arc<Stats>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Relaxed);
    }
}

impl Stats {
    pub(super) fn opened(self: &Arc<Self>) -> Open {
        self.open.fetch_add(1, Relaxed);
        self.accepted.fetch_add(1, Relaxed);
        Open(Arc::clone(self))
    }

    pub(super) fn turned_away(&self) {
        self.turned_away.fetch_add(1, Relaxed);
    }

    pub(super) fn handshake_failed(&self) {
        self.handshakes_failed.fetch_add(1, Relaxed);
    }

    pub(super) fn loaded(&self, is_good: bool) {
        let counter = if is_good { &self.tls_loads } else { &self.tls_failures };
        counter.fetch_add(1, Relaxed);
    }

    pub(super) fn certificate_expires(&self, at: Option<u64>) {
        self.tls_expires.store(at.unwrap_or(0), Relaxed);
    }

    pub(super) fn connection_ended(&self, why: Ended) {
        self.ended[why as usize].fetch_add(1, Relaxed);
    }

    pub(super) fn begun(&self) {
        self.under_way.fetch_add(1, Relaxed);
    }

    pub(super) fn ended(&self) {
        self.under_way.fetch_sub(1, Relaxed);
    }

    pub(super) fn refused(&self, refused: Refused) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry(refused.word()).or_default() += 1;
    }

    pub(super) fn answered(&self, route: &'static str, method: &Method, status: StatusCode, took: Duration) {
        let key = (route, known(method), status.as_u16() / 100);
        *self.requests.lock().unwrap_or_else(PoisonError::into_inner).entry(key).or_default() += 1;
        let mut times = self.times.lock().unwrap_or_else(PoisonError::into_inner);
        let times = times.entry(route).or_default();
        times.count += 1;
        times.seconds += took.as_secs_f64();
        if let Some(bucket) = BUCKETS.iter().position(|(limit, _)| took.as_secs_f64() <= *limit) {
            times.within[bucket] += 1;
        }
    }

    /// All of it in the text format of Prometheus.
    pub(crate) fn write(&self, text: &mut String) {
        let number = |counter: &AtomicU64| counter.load(Relaxed);
        family(text, "http_connections", "gauge", "Connections that are open.", &[("", number(&self.open))]);
        let taken = [
            ("{outcome=\"accepted\"}", number(&self.accepted)),
            ("{outcome=\"turned_away\"}", number(&self.turned_away)),
        ];
        family(
            text,
            "http_connections_total",
            "counter",
            "Connections, and those of addresses that had too many.",
            &taken,
        );
        let ended = Ended::ALL.map(|why| (format!("{{reason=\"{}\"}}", why.word()), number(&self.ended[why as usize])));
        family(text, "http_connections_ended_total", "counter", "Connections that were ended from this side.", &ended);
        family(
            text,
            "tls_handshake_failures_total",
            "counter",
            "Handshakes that failed.",
            &[("", number(&self.handshakes_failed))],
        );
        let loads =
            [("{outcome=\"loaded\"}", number(&self.tls_loads)), ("{outcome=\"refused\"}", number(&self.tls_failures))];
        family(text, "tls_reloads_total", "counter", "New certificates, and those that could not be used.", &loads);
        let expires = Some(number(&self.tls_expires)).filter(|at| *at > 0).map(|at| ("", at));
        let help = "When the first certificate of the chain in use expires, in seconds since 1970.";
        family(text, "tls_certificate_expires_seconds", "gauge", help, expires.as_slice());
        family(text, "http_requests_in_flight", "gauge", "Requests under way.", &[("", number(&self.under_way))]);
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let refused: Vec<_> = refused.iter().map(|(word, count)| (format!("{{reason=\"{word}\"}}"), *count)).collect();
        family(text, "http_requests_refused_total", "counter", "Requests that led nowhere.", &refused);
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let of = |(route, method, class): &(&str, &str, u16)| {
            format!("{{route=\"{route}\",method=\"{method}\",status=\"{class}xx\"}}")
        };
        let requests: Vec<_> = requests.iter().map(|(key, count)| (of(key), *count)).collect();
        family(text, "http_requests_total", "counter", "Requests that were answered.", &requests);
        self.write_times(text);
    }

    fn write_times(&self, text: &mut String) {
        let times = self.times.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let name = "gigmcp_http_request_duration_seconds";
        line(text, format_args!("# HELP {name} Time until an answer began.\n# TYPE {name} histogram"));
        for (route, times) in &times {
            let mut sum = 0;
            for ((_, limit), within) in BUCKETS.iter().zip(times.within) {
                sum += within;
                line(text, format_args!("{name}_bucket{{route=\"{route}\",le=\"{limit}\"}} {sum}"));
            }
            line(text, format_args!("{name}_bucket{{route=\"{route}\",le=\"+Inf\"}} {}", times.count));
            line(text, format_args!("{name}_sum{{route=\"{route}\"}} {}", times.seconds));
            line(text, format_args!("{name}_count{{route=\"{route}\"}} {}", times.count));
        }
    }
}

fn family(text: &mut String, name: &str, kind: &str, help: &str, series: &[(impl AsRef<str>, u64)]) {
    line(text, format_args!("# HELP gigmcp_{name} {help}\n# TYPE gigmcp_{name} {kind}"));
    for (labels, value) in series {
        line(text, format_args!("gigmcp_{name}{} {value}", labels.as_ref()));
    }
}

fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    writeln!(text, "{what}").expect("a string takes text");
}

/// A method that somebody made up is not a label.
fn known(method: &Method) -> &'static str {
    let all = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    all.into_iter().find(|known| *known == method.as_str()).unwrap_or("other")
}

/// In seconds, and as it is written.
const BUCKETS: [(f64, &str); 8] = [
    (0.000_5, "0.0005"),
    (0.002, "0.002"),
    (0.01, "0.01"),
    (0.05, "0.05"),
    (0.25, "0.25"),
    (1.0, "1"),
    (5.0, "5"),
    (30.0, "30"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_words_of_this_program() {
        let stats = Arc::new(Stats::default());
        let open = stats.opened();
        for method in ["GET", "BREW", "X-MADE-UP"] {
            let method: Method = method.parse().expect("a token");
            stats.answered("/mcp/p/{profile}", &method, StatusCode::NOT_FOUND, Duration::from_millis(3));
        }
        stats.refused(Refused::Slow);
        stats.connection_ended(Ended::Abused);
        stats.certificate_expires(Some(1_800_000_000));
        let mut text = String::new();
        stats.write(&mut text);
        for expected in [
            "gigmcp_http_connections 1",
            "gigmcp_tls_certificate_expires_seconds 1800000000",
            r#"gigmcp_http_connections_ended_total{reason="abused"} 1"#,
            r#"gigmcp_http_requests_refused_total{reason="slow"} 1"#,
            r#"gigmcp_http_requests_total{route="/mcp/p/{profile}",method="GET",status="4xx"} 1"#,
            r#"gigmcp_http_requests_total{route="/mcp/p/{profile}",method="other",status="4xx"} 2"#,
            r#"gigmcp_http_request_duration_seconds_bucket{route="/mcp/p/{profile}",le="0.002"} 0"#,
            r#"gigmcp_http_request_duration_seconds_bucket{route="/mcp/p/{profile}",le="0.01"} 3"#,
            r#"gigmcp_http_request_duration_seconds_count{route="/mcp/p/{profile}"} 3"#,
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        assert!(!text.contains("BREW"));
        drop(open);
        stats.certificate_expires(None);
        let mut text = String::new();
        stats.write(&mut text);
        assert!(text.contains("gigmcp_http_connections 0\n"), "{text}");
        let expires = text.lines().find(|line| line.starts_with("gigmcp_tls_certificate_expires_seconds"));
        assert_eq!(expires, None, "twin: without a certificate, there is no time");
    }
}
