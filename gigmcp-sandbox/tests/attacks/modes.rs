//! With which layers left out the attacks are tried.

use std::path::Path;

use super::scene::{Scene, red_team};
use super::seam::Seam;
use crate::protocol::Plan;
use crate::{Limits, Network, Profile, Rootfs, Sandbox, SandboxBuilder};

/// One way to start the red team.
pub(crate) struct Mode {
    pub(crate) name: &'static str,
    pub(crate) builder: SandboxBuilder,
    /// Where the program is inside.
    pub(crate) program: &'static Path,
    /// Whether what is dialled cannot leave the sandbox.
    pub(crate) contained: bool,
}

/// The mode that all others are compared with: an image as root, no network, every layer.
pub(crate) fn base(scene: &Scene) -> Mode {
    // Small, so that filling them takes no time.
    let limits = Limits::default().tmp_bytes(16 << 20).shm_bytes(4 << 20).tmp_files(1500);
    let builder = Sandbox::builder(Rootfs::image(scene.image())).limits(limits);
    Mode { name: "all layers", builder, program: Path::new("/server"), contained: true }
}

/// The same attacks where every layer holds too, with another root or network.
pub(crate) fn elsewhere(scene: &Scene) -> Vec<Mode> {
    let with = |name, change: &dyn Fn(SandboxBuilder) -> SandboxBuilder| {
        let base = base(scene);
        Mode { name, builder: change(base.builder), ..base }
    };
    vec![
        with("a single file as root", &|builder| SandboxBuilder { rootfs: Rootfs::single_file(red_team()), ..builder }),
        Mode {
            program: red_team(),
            ..with("the host's tools as root", &|builder| {
                SandboxBuilder { rootfs: Rootfs::host_tools(), ..builder }.read_only(red_team())
            })
        },
        with("the profile of static programs", &|builder| builder.profile(Profile::Static)),
        with("a network handed off", &|builder| builder.network(Network::handoff())),
    ]
}

/// Each layer left out in turn, then some together.
pub(crate) fn without(scene: &Scene) -> Vec<Mode> {
    const NO_FILTERS: Change = |plan| {
        plan.filters.clear();
        plan.tripwires.clear();
    };
    const NO_LIMITS: Change = |plan| {
        plan.rlimits.clear();
        plan.cgroups.clear();
    };
    const NO_ALLOWLIST: Change = |plan| {
        plan.filters.pop();
        plan.tripwires.clear();
    };
    let single: &[(&'static str, &[&'static str], Option<Change>)] = &[
        ("seccomp", &[], Some(NO_FILTERS)),
        ("seccomp's argument rules", &[], Some(|plan| drop(plan.filters.remove(0)))),
        ("seccomp's allowlist", &[], Some(NO_ALLOWLIST)),
        ("Landlock", &["landlock"], None),
        ("empty capability sets", &["capabilities"], None),
        ("the inner user namespace", &["inner user namespace"], None),
        ("the limits of the user namespace", &["namespace limits"], None),
        ("a host uid of its own", &[], Some(|plan| plan.host_uid = None)),
        ("the process namespace", &["pid"], None),
        ("the network namespace", &["net"], None),
        ("the ipc namespace", &["ipc"], None),
        ("the host name namespace", &["uts"], None),
        ("the cgroup namespace", &["cgroup"], None),
        ("read-only mounts", &["read-only"], None),
        ("the masks of /proc", &["masks"], None),
        ("a PID 1 that cannot be read", &["dumpable"], None),
        ("a keyring of its own", &["keyring"], None),
        ("resource limits", &[], Some(|plan| plan.rlimits.clear())),
        ("the control group", &[], Some(|plan| plan.cgroups.clear())),
        ("resource limits and the control group", &[], Some(NO_LIMITS)),
        // The kernel asks for it before it takes the other two.
        ("no_new_privs, seccomp and Landlock", &["no_new_privs", "landlock", "filter of PID 1"], Some(NO_FILTERS)),
        ("seccomp and Landlock", &["landlock"], Some(NO_FILTERS)),
        ("seccomp and empty capability sets", &["capabilities"], Some(NO_FILTERS)),
        ("seccomp and the ipc namespace", &["ipc"], Some(NO_FILTERS)),
        ("seccomp and a keyring of its own", &["keyring"], Some(NO_FILTERS)),
        ("Landlock and the network namespace", &["landlock", "net"], None),
    ];
    let mode = |(name, left_out, plan): &(&'static str, &[&'static str], Option<Change>)| {
        let base = base(scene);
        let contained = !left_out.contains(&"net");
        let seam = Seam { left_out: left_out.to_vec(), plan: *plan };
        Mode { name, builder: SandboxBuilder { seam, ..base.builder }, contained, ..base }
    };
    single.iter().map(mode).collect()
}

type Change = fn(&mut Plan);
