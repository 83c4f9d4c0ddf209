//! Counters in the text format of Prometheus.

use std::fmt::Write;

use crate::{
    egress::Instances,
    front::Stats,
    people::Failed,
    store::{Store, Tally},
};

/// What the text is.
pub(crate) const MEDIA_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What was counted since the gateway began. The names of people, profiles and servers do not stand in it.
pub(crate) fn text(store: &Store, instances: &Instances, failed: &Failed, http: &Stats) -> String {
    let counted = store.counted();
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, of: &dyn Fn(&Tally) -> f64| {
        head(&mut text, name, kind, help);
        for ((row, allowed), tally) in &counted {
            let outcome = if *allowed { "allowed" } else { "refused" };
            line(&mut text, &format!("{name}{{kind=\"{row}\",outcome=\"{outcome}\"}}"), of(tally));
        }
    };
    let help = "Rows of the audit trail: tool calls are of the kind tool, requests of servers of request and connect.";
    family("gigmcp_events_total", "counter", help, &|tally| tally.rows as f64);
    family("gigmcp_alarms_total", "counter", "Of these, alarms.", &|tally| tally.alarms as f64);
    family("gigmcp_sent_bytes_total", "counter", "Bytes sent in them.", &|tally| tally.bytes_up as f64);
    family("gigmcp_received_bytes_total", "counter", "Bytes received in them.", &|tally| tally.bytes_down as f64);
    family("gigmcp_seconds_total", "counter", "Time that they took together.", &|tally| tally.micros as f64 / 1e6);
    head(&mut text, "gigmcp_instances", "gauge", "Servers that run in this gateway.");
    line(&mut text, "gigmcp_instances", instances.count() as f64);
    let name = "gigmcp_failed_proofs_total";
    head(&mut text, name, "counter", "Tokens, keys, sessions, codes and returns from the provider that let nobody in.");
    for (proof, count) in failed.counted() {
        line(&mut text, &format!("{name}{{proof=\"{proof}\"}}"), count as f64);
    }
    http.write(&mut text);
    head(&mut text, "gigmcp_build_info", "gauge", "The version of the gateway.");
    line(&mut text, &format!("gigmcp_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0);
    text
}

fn head(text: &mut String, name: &str, kind: &str, help: &str) {
    writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}").expect("a string takes text");
}

fn line(text: &mut String, series: &str, value: f64) {
    writeln!(text, "{series} {value}").expect("a string takes text");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trail::{AuditRow, testing::row};

    #[tokio::test]
    async fn what_happened_is_counted_by_kind_and_outcome() {
        let (store, _directory) = Store::open_for_test();
        let of = |verdict: &str| AuditRow {
            kind: "tool".to_owned(),
            verdict: verdict.to_owned(),
            bytes_up: 5,
            duration_us: 500_000,
            ..row("a")
        };
        for verdict in ["allowed", "allowed", "tool-error"] {
            store.add_audit(of(verdict)).await.expect("it is kept");
        }
        let people = crate::people::People::fast(store.clone());
        let text = text(&store, &Instances::default(), &people.failed, &Stats::default());
        for expected in [
            "# TYPE gigmcp_events_total counter",
            r#"gigmcp_events_total{kind="tool",outcome="allowed"} 2"#,
            r#"gigmcp_events_total{kind="tool",outcome="refused"} 1"#,
            r#"gigmcp_sent_bytes_total{kind="tool",outcome="allowed"} 10"#,
            r#"gigmcp_seconds_total{kind="tool",outcome="allowed"} 1"#,
            "gigmcp_instances 0",
            r#"gigmcp_failed_proofs_total{proof="api-key"} 0"#,
        ] {
            assert!(text.lines().any(|line| line == expected), "{expected} in {text}");
        }
        assert!(text.ends_with('\n'));
    }
}
