//! Files of `/proc` by which programs size themselves, as if the machine were as large as the limits.

use std::fs;

use crate::Limits;

/// Paths below `/proc` with their content.
pub(crate) fn files(limits: &Limits) -> Vec<(Vec<u8>, Vec<u8>)> {
    // A host that shows no processors shows the server none either way.
    let host = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    vec![
        (b"cpuinfo".to_vec(), cpuinfo(&host, limits.cpu_percent).into_bytes()),
        (b"meminfo".to_vec(), meminfo(limits.memory_bytes).into_bytes()),
    ]
}

/// The first processors of the host's own, as many as may be kept busy, rounded up.
fn cpuinfo(host: &str, percent: u32) -> String {
    let count = usize::try_from(percent.div_ceil(100)).unwrap_or(usize::MAX).max(1);
    host.split_inclusive("\n\n").take(count).collect()
}

fn meminfo(bytes: u64) -> String {
    let kilobytes = bytes / 1024;
    let line = |name: &str, value: u64| format!("{:<16}{value:>8} kB\n", format!("{name}:"));
    let whole = ["MemTotal", "MemFree", "MemAvailable"].map(|name| line(name, kilobytes)).concat();
    whole + &["Buffers", "Cached", "SwapCached", "SwapTotal", "SwapFree"].map(|name| line(name, 0)).concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_processors_are_shown_as_may_be_kept_busy() {
        let host = "processor\t: 0\n\nprocessor\t: 1\n\nprocessor\t: 2\n\n";
        for (percent, expected) in [(1, 1), (100, 1), (101, 2), (200, 2), (900, 3)] {
            assert_eq!(cpuinfo(host, percent).matches("processor").count(), expected, "{percent}");
        }
    }

    #[test]
    fn the_memory_is_what_is_allowed() {
        assert!(meminfo(512 << 20).starts_with("MemTotal:         524288 kB\nMemFree: "));
    }
}
