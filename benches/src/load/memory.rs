//! What a process holds, and whether that becomes more.

use std::time::Duration;

use crate::{
    Failure,
    idle::{field, proportional},
};

/// Bytes of a process's pages.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Memory {
    pub(super) resident: u64,
    /// Those shared with others divided among them.
    pub(super) proportional: u64,
    /// Of no file: heap and stacks.
    pub(super) anonymous: u64,
}

pub(super) fn now(pid: u32) -> Result<Memory, Failure> {
    let status = format!("/proc/{pid}/status");
    Ok(Memory {
        resident: field(&status, "VmRSS:")?,
        proportional: proportional(pid)?,
        anonymous: field(&status, "RssAnon:")?,
    })
}

pub(super) fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// What was seen, and when.
#[derive(Default)]
pub(super) struct Series(Vec<(Duration, Memory)>);

/// How anonymous memory went, by the straight line closest to it.
#[derive(Debug)]
pub(super) struct Slope {
    /// What came before is warming up.
    pub(super) from: Duration,
    /// What part of the whole the rest is.
    pub(super) part: f64,
    /// Bytes.
    pub(super) per_minute: f64,
    /// Bytes from one end of the line to the other.
    pub(super) growth: f64,
}

impl Series {
    pub(super) fn add(&mut self, at: Duration, memory: Memory) {
        self.0.push((at, memory));
    }

    pub(super) fn last(&self) -> Memory {
        self.0.last().map(|(_, memory)| *memory).unwrap_or_default()
    }

    /// Of all but the first fifth.
    pub(super) fn slope(&self) -> Slope {
        let whole = self.0.last().map(|(at, _)| *at).unwrap_or_default();
        let from = whole / 5;
        let points = self.0.iter().filter(|(at, _)| *at >= from);
        let points: Vec<(f64, f64)> = points.map(|(at, seen)| (at.as_secs_f64(), seen.anonymous as f64)).collect();
        let count = points.len().max(1) as f64;
        let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
        let (time, bytes) = (mean(|point| point.0), mean(|point| point.1));
        let together: f64 = points.iter().map(|(at, seen)| (at - time) * (seen - bytes)).sum();
        let spread: f64 = points.iter().map(|(at, _)| (at - time).powi(2)).sum();
        let per_second = if spread > 0.0 { together / spread } else { 0.0 };
        let rest = (whole - from).as_secs_f64();
        let part = if whole.is_zero() { 0.0 } else { rest / whole.as_secs_f64() };
        Slope { from, part, per_minute: per_second * 60.0, growth: per_second * rest }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(by: impl Fn(u64) -> u64) -> f64 {
        let mut series = Series::default();
        for second in (0..=300).step_by(5) {
            series.add(Duration::from_secs(second), Memory { anonymous: by(second), ..Memory::default() });
        }
        series.slope().growth
    }

    #[test]
    fn what_grows_is_told_from_what_warms_up() {
        assert!((grown(|second| 1_000_000 + 1000 * second) - 240_000.0).abs() < 1.0, "steadily");
        assert!(grown(|second| 1_000_000 * second.min(60)).abs() < 1.0, "twin: for the first minute only");
        assert!(grown(|second| 1_000_000 + second % 10 * 1000).abs() < 10_000.0, "twin: up and down");
    }
}
