//! What the host and the bootstrap say to each other.
//!
//! Compiled into both: the host writes a [`Plan`], the bootstrap carries it out and answers
//! with [`Report`]s. Both ends are built together, so there is no version to negotiate.

// Named in full, because the host's crate looks for them from another place.
#[path = "protocol/plan.rs"]
mod plan;
#[path = "protocol/report.rs"]
mod report;
#[path = "protocol/stage.rs"]
mod stage;

pub(crate) use plan::NetworkPlan;
#[cfg(target_os = "linux")]
pub(crate) use plan::{Plan, Step};
#[cfg(target_os = "linux")]
pub(crate) use report::Report;
pub use stage::Stage;

/// The uid and gid of every process inside, as seen from inside.
pub(crate) const SERVER_ID: u32 = 65534;
/// The ports whose listeners are always handed to the host.
pub(crate) const TCP_PORTS: [u16; 4] = [443, 80, 3128, DNS_PORT];
/// The port of DNS.
pub(crate) const DNS_PORT: u16 = 53;

/// The name of the sandbox's end of a link.
pub(crate) const LINK_NAME: &str = "gig0";

/// The hardware address of the end of a link that has this address. Both ends know the other's by
/// this, so that none ever has to be asked for.
pub(crate) fn link_address([a, b, c, d]: [u8; 4]) -> [u8; 6] {
    // The second lowest bit: given locally, not by a manufacturer.
    [0x02, 0x67, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Malformed;

    fn plan() -> Plan {
        let to = b"/root/x".to_vec();
        Plan {
            host_uid: Some(61_184),
            cgroups: vec![5, 6],
            steps: vec![
                Step::Dir { to: to.clone(), mode: 0o755 },
                Step::File { to: to.clone(), mode: 0o444, content: vec![0, 255] },
                Step::Copy { to: to.clone(), mode: 0o555, descriptor: 3 },
                Step::Symlink { to: to.clone(), target: b"usr".to_vec() },
                Step::Bind { to: to.clone(), from: b"/usr".to_vec(), beneath: None },
                Step::Bind { to: to.clone(), from: b"/image".to_vec(), beneath: Some(b"usr".to_vec()) },
                Step::Tmpfs { to: to.clone(), mode: 0o1777, bytes: u64::MAX, inodes: 1 },
                Step::Device { to: to.clone(), name: b"null".to_vec() },
                Step::State { to, from: b"/srv/state".to_vec() },
            ],
            proc_files: vec![(b"cpuinfo".to_vec(), Vec::new())],
            network: NetworkPlan::Handoff { tcp: vec![443], udp: vec![53, 123] },
            command: vec![b"/server".to_vec()],
            environment: vec![b"A=b".to_vec()],
            working_dir: b"/tmp".to_vec(),
            rlimits: vec![(7, 4096)],
            filters: vec![vec![6; 8]],
            init_filter: vec![6; 16],
            tripwires: vec![(101, 1)],
            tripwires_kill: true,
            writable: vec![b"/tmp".to_vec()],
        }
    }

    #[test]
    fn a_plan_and_every_report_come_back_as_they_were() {
        assert_eq!(Plan::decode(&plan().encode()), Ok(plan()));
        let (sandbox, host) = ([10, 199, 0, 2], [10, 199, 0, 1]);
        for network in [NetworkPlan::None, NetworkPlan::Link { sandbox, host, tcp: vec![3128], udp: Vec::new() }] {
            let plan = Plan { network, ..plan() };
            assert_eq!(Plan::decode(&plan.encode()), Ok(plan));
        }
        for report in [
            Report::Network,
            Report::Posture(vec![("a".to_owned(), "b".to_owned())]),
            Report::Running,
            Report::Failed { stage: Stage::Exec, errno: 2, detail: "x".to_owned() },
            Report::Exited(255),
            Report::Signaled(31),
            Report::Tripwire { call: 101, pid: 2, count: u64::MAX },
            Report::Listener,
            Report::Monitor,
        ] {
            assert_eq!(Report::decode(&report.encode()), Ok(report));
        }
    }

    #[test]
    fn a_message_cut_short_is_malformed() {
        let whole = plan().encode();
        for length in 0..whole.len() {
            assert_eq!(Plan::decode(&whole[..length]), Err(Malformed), "{length} bytes");
        }
        let unknown_stage = [3, 255, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(Report::decode(&unknown_stage), Err(Malformed));
        let endless_list = [1, 255, 255, 255, 255, 255, 255, 255, 255];
        assert_eq!(Report::decode(&endless_list), Err(Malformed));
    }
}
