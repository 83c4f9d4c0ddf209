//! What the kernel's schedulers make of the process.

use std::ffi::{c_int, c_long, c_uint};
use std::io;

use super::{check_long, process_control};

pub(crate) const SCHED_OTHER: u32 = 0;
pub(crate) const SCHED_BATCH: u32 = 3;
pub(crate) const SCHED_IDLE: u32 = 5;
pub(crate) const PR_SET_TIMERSLACK: c_int = 29;
pub(crate) const PR_GET_TIMERSLACK: c_int = 30;
pub(crate) const PR_SET_MEMORY_MERGE: c_int = 67;
pub(crate) const PR_GET_MEMORY_MERGE: c_int = 68;

#[cfg(target_arch = "x86_64")]
mod number {
    pub(super) const GETPRIORITY: i64 = 140;
    pub(super) const IOPRIO_SET: i64 = 251;
    pub(super) const IOPRIO_GET: i64 = 252;
    pub(super) const PERSONALITY: i64 = 135;
    pub(super) const SCHED_SETATTR: i64 = 314;
    pub(super) const SCHED_GETATTR: i64 = 315;
}
#[cfg(any(target_arch = "aarch64", target_arch = "riscv64"))]
mod number {
    pub(super) const GETPRIORITY: i64 = 141;
    pub(super) const IOPRIO_SET: i64 = 30;
    pub(super) const IOPRIO_GET: i64 = 31;
    pub(super) const PERSONALITY: i64 = 92;
    pub(super) const SCHED_SETATTR: i64 = 274;
    pub(super) const SCHED_GETATTR: i64 = 275;
}

const IOPRIO_WHO_PROCESS: c_long = 1;
const PERSONALITY_ASK: c_long = 0xffff_ffff;

/// `struct sched_attr` of Linux 3.14, which every later kernel takes.
#[derive(Default)]
#[repr(C)]
struct SchedAttr {
    size: u32,
    policy: u32,
    flags: u64,
    nice: i32,
    priority: u32,
    runtime: u64,
    deadline: u64,
    period: u64,
}

const SCHED_ATTR_BYTES: c_uint = size_of::<SchedAttr>() as c_uint;

unsafe extern "C" {
    fn syscall(number: c_long, ...) -> c_long;
}

pub(crate) fn scheduling_policy() -> io::Result<u32> {
    let mut found = SchedAttr::default();
    // SAFETY: writes at most as many bytes as the struct has; 0 is this process.
    check_long(unsafe {
        syscall(number::SCHED_GETATTR, 0 as c_long, &raw mut found, c_long::from(SCHED_ATTR_BYTES), 0 as c_long)
    })?;
    Ok(found.policy)
}

/// Sets a policy other than a real-time one, and how nice the process is.
pub(crate) fn set_scheduling(policy: u32, nice: i32) -> io::Result<()> {
    let wanted = SchedAttr { size: SCHED_ATTR_BYTES, policy, nice, ..SchedAttr::default() };
    // SAFETY: reads as many bytes as the struct says it has; 0 is this process.
    check_long(unsafe { syscall(number::SCHED_SETATTR, 0 as c_long, &raw const wanted, 0 as c_long) }).map(drop)
}

/// From -20, which is first, to 19.
pub(crate) fn niceness() -> io::Result<i32> {
    // SAFETY: integers only; 0 and 0 are this process. The kernel's answer is 20 less the niceness.
    let found = check_long(unsafe { syscall(number::GETPRIORITY, 0 as c_long, 0 as c_long) })?;
    Ok(20 - i32::try_from(found).unwrap_or(40))
}

pub(crate) fn disk_priority() -> io::Result<u64> {
    // SAFETY: integers only; 0 is this process.
    let found = check_long(unsafe { syscall(number::IOPRIO_GET, IOPRIO_WHO_PROCESS, 0 as c_long) })?;
    Ok(found as u64)
}

/// Leaves it to the scheduler's what the disk makes of the process.
pub(crate) fn reset_disk_priority() -> io::Result<()> {
    // SAFETY: integers only; 0 is this process.
    check_long(unsafe { syscall(number::IOPRIO_SET, IOPRIO_WHO_PROCESS, 0 as c_long, 0 as c_long) }).map(drop)
}

pub(crate) fn execution_domain() -> io::Result<u64> {
    // SAFETY: an integer only.
    check_long(unsafe { syscall(number::PERSONALITY, PERSONALITY_ASK) }).map(|found| found as u64)
}

pub(crate) fn reset_execution_domain() -> io::Result<()> {
    // SAFETY: an integer only.
    check_long(unsafe { syscall(number::PERSONALITY, 0 as c_long) }).map(drop)
}

/// In nanoseconds; 0 for real-time processes.
pub(crate) fn timer_slack() -> io::Result<u64> {
    process_control(PR_GET_TIMERSLACK, 0).map(|found| u64::from(found.cast_unsigned()))
}
