//! What a process has of the machine before it asks: processor, disk, timers, layout of its memory.
//!
//! All of it is inherited by `fork` and kept by `execve`, so a host process that is first of all would make
//! its servers that, too. What is less than usual stays: somebody wanted it for this process and what it
//! starts. So do the processors it may run on, which are never more than the host's own.
//!
//! Only what is wrong is set: a container or unit that refuses these calls mostly has nothing to reset.

use std::io;

use crate::protocol::Stage;
use crate::{At, Failure, sys};

/// Gives up what is better than usual.
pub(crate) fn give_up() -> Result<(), Failure> {
    scheduling().at_with(Stage::Standing, b"scheduling")?;
    disk().at_with(Stage::Standing, b"disk")?;
    timers().at_with(Stage::Standing, b"timers")?;
    // Among others, addresses that are not random.
    if sys::execution_domain().at_with(Stage::Standing, b"personality")? != 0 {
        sys::reset_execution_domain().at_with(Stage::Standing, b"personality")?;
    }
    merged_memory().at_with(Stage::Standing, b"merged memory")
}

fn scheduling() -> io::Result<()> {
    let (policy, nice) = (sys::scheduling_policy()?, sys::niceness()?);
    let usual = match policy {
        sys::SCHED_BATCH | sys::SCHED_IDLE => policy,
        _ => sys::SCHED_OTHER,
    };
    if policy != usual || nice < 0 {
        sys::set_scheduling(usual, nice.max(0))?;
    }
    Ok(())
}

fn disk() -> io::Result<()> {
    match sys::disk_priority() {
        Ok(found) => {
            // Of the data of a class, the lowest three bits are the level.
            let first = match found >> CLASS_SHIFT {
                CLASS_REAL_TIME => true,
                CLASS_BEST_EFFORT => found & 7 < USUAL_LEVEL,
                _ => false,
            };
            if first { sys::reset_disk_priority() } else { Ok(()) }
        }
        // A kernel without disks.
        Err(error) if error.raw_os_error() == Some(ENOSYS) => Ok(()),
        Err(error) => Err(error),
    }
}

fn timers() -> io::Result<()> {
    if sys::timer_slack()? < USUAL_SLACK_NS {
        sys::process_control(sys::PR_SET_TIMERSLACK, USUAL_SLACK_NS)?;
    }
    Ok(())
}

/// Pages that the kernel merges with equal ones of others tell, by the time that writing to them takes, what
/// others have.
fn merged_memory() -> io::Result<()> {
    match sys::process_control(sys::PR_GET_MEMORY_MERGE, 0) {
        Ok(0) => Ok(()),
        Ok(_) => sys::process_control(sys::PR_SET_MEMORY_MERGE, 0).map(drop),
        // Before Linux 6.4, and without KSM, nobody has it.
        Err(error) if error.raw_os_error() == Some(EINVAL) => Ok(()),
        Err(error) => Err(error),
    }
}

const CLASS_SHIFT: u32 = 13;
const CLASS_REAL_TIME: u64 = 1;
const CLASS_BEST_EFFORT: u64 = 2;
const USUAL_LEVEL: u64 = 4;
const USUAL_SLACK_NS: u64 = 50_000;
const EINVAL: i32 = 22;
const ENOSYS: i32 = 38;
