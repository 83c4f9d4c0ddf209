//! What is logged.

use std::{fmt, str::FromStr};

use tracing_subscriber::EnvFilter;

/// A filter in which every part says something. What `tracing` takes and then matches nothing is refused: a log that stays empty
/// is noticed when it is needed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct LogFilter(Box<str>);

/// Why a text is no filter.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(crate) enum InvalidLogFilter {
    #[error("`{part}` is no level{}; write error, warn, info, debug, trace or off, or TARGET=LEVEL as gigmcp_egress=debug", .nearest.map(|nearest| format!(" (did you mean {nearest}?)")).unwrap_or_default())]
    Level { part: String, nearest: Option<&'static str> },
    #[error("`{part}` names no part of gigmcp{}; there are: {}", .nearest.map(|nearest| format!(" (did you mean {nearest}?)")).unwrap_or_default(), OURS.join(", "))]
    Target { part: String, nearest: Option<&'static str> },
    #[error("`{part}` is no name of a module; write it with _ and ::, as gigmcp_egress or hyper::proto")]
    Name { part: String },
    #[error("a part between two commas is empty")]
    Empty,
    #[error("`{part}` is not understood: {reason}")]
    Syntax { part: String, reason: String },
}

impl LogFilter {
    /// For `tracing`.
    pub(crate) fn filter(&self) -> EnvFilter {
        EnvFilter::new(&*self.0)
    }
}

impl fmt::Display for LogFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = InvalidLogFilter;

    fn from_str(text: &str) -> Result<Self, InvalidLogFilter> {
        for part in text.split(',') {
            check(part.trim())?;
        }
        let parts: Vec<_> = text.split(',').map(str::trim).collect();
        Ok(Self(parts.join(",").into()))
    }
}

fn check(part: &str) -> Result<(), InvalidLogFilter> {
    if part.is_empty() {
        return Err(InvalidLogFilter::Empty);
    }
    let level = match part.rsplit_once('=') {
        // A span may be named in brackets, which `tracing` reads.
        Some((target, level)) => {
            check_target(target.split('[').next().unwrap_or_default())?;
            level
        }
        None => part,
    };
    if !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level)) {
        return Err(InvalidLogFilter::Level { part: level.to_owned(), nearest: nearest(level, &LEVELS) });
    }
    part.parse::<EnvFilter>()
        .map(drop)
        .map_err(|error| InvalidLogFilter::Syntax { part: part.to_owned(), reason: error.to_string() })
}

fn check_target(target: &str) -> Result<(), InvalidLogFilter> {
    if target.is_empty() {
        return Ok(());
    }
    let word = |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !target.split("::").all(word) {
        return Err(InvalidLogFilter::Name { part: target.to_owned() });
    }
    let of = target.split("::").next().unwrap_or_default();
    if of.to_ascii_lowercase().starts_with("gig") && !OURS.contains(&of) {
        return Err(InvalidLogFilter::Target { part: of.to_owned(), nearest: nearest(of, &OURS) });
    }
    Ok(())
}

fn nearest(text: &str, known: &[&'static str]) -> Option<&'static str> {
    let text = text.to_ascii_lowercase();
    let nearest = known.iter().map(|known| (strsim::osa_distance(&text, known), *known)).min();
    nearest.filter(|(distance, known)| *distance <= known.len().div_ceil(2)).map(|(_, known)| known)
}

const LEVELS: [&str; 6] = ["error", "warn", "info", "debug", "trace", "off"];
const OURS: [&str; 6] =
    ["gigmcp_egress", "gigmcp_gateway", "gigmcp_mcp", "gigmcp_registry", "gigmcp_sandbox", "gigmcp_vault"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_log_nothing_is_refused() {
        for (text, expected) in [
            ("info", Ok("info")),
            ("WARN", Ok("WARN")),
            ("warn,gigmcp_egress=debug", Ok("warn,gigmcp_egress=debug")),
            ("info, hyper::proto=trace", Ok("info,hyper::proto=trace")),
            ("gigmcp_mcp[call]=debug", Ok("gigmcp_mcp[call]=debug")),
            ("inof", Err(InvalidLogFilter::Level { part: "inof".to_owned(), nearest: Some("info") })),
            ("verbose", Err(InvalidLogFilter::Level { part: "verbose".to_owned(), nearest: None })),
            ("warning", Err(InvalidLogFilter::Level { part: "warning".to_owned(), nearest: None })),
            ("gigmcp_egress", Err(InvalidLogFilter::Level { part: "gigmcp_egress".to_owned(), nearest: None })),
            ("gigmcp-egress=debug", Err(InvalidLogFilter::Name { part: "gigmcp-egress".to_owned() })),
            (
                "gigmcp_egres=debug",
                Err(InvalidLogFilter::Target { part: "gigmcp_egres".to_owned(), nearest: Some("gigmcp_egress") }),
            ),
            ("gigmcp_egress=debg", Err(InvalidLogFilter::Level { part: "debg".to_owned(), nearest: Some("debug") })),
            ("info,,debug", Err(InvalidLogFilter::Empty)),
            ("", Err(InvalidLogFilter::Empty)),
        ] {
            let read = text.parse::<LogFilter>();
            let read = read.as_ref().map(|filter| &*filter.0).map_err(Clone::clone);
            match (&read, &expected) {
                (
                    Err(InvalidLogFilter::Level { part, .. }),
                    Err(InvalidLogFilter::Level { part: other, nearest: None }),
                ) => {
                    assert_eq!(part, other, "{text}");
                }
                _ => assert_eq!(read, expected, "{text}"),
            }
        }
    }
}
