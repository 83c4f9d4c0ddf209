//! What happens to a server, in words: the same in the log of `serve` and on the standard error of `exec`.

use std::borrow::Cow;

use gigmcp_sandbox::{Event, Exit};

/// What a server did or suffered, to be put after its name.
pub(crate) fn what(event: &Event) -> Cow<'static, str> {
    match event {
        Event::Tripwire { call, .. } => {
            format!("made the system call {call}, as no server does; it was refused").into()
        }
        // The rest of the sandbox ends with it, so both are one story.
        Event::OomKill { .. } => how(Exit::OomKilled),
        Event::PidsExhausted { .. } => "was refused a process: it has as many as allowed (--processes)".into(),
        Event::Ended(exit) => how(*exit),
        Event::Lost { .. } => "did so much that some of it is not told".into(),
        other => format!("had something happen: {other:?}").into(),
    }
}

fn how(exit: Exit) -> Cow<'static, str> {
    match exit {
        Exit::Exited(code) => format!("exited with code {code}").into(),
        Exit::Signaled(signal) => format!("was ended by signal {signal}").into(),
        Exit::SeccompKilled => "made a forbidden system call and was ended".into(),
        Exit::Tripwire { call } => format!("made the system call {call}, as no server does, and was ended").into(),
        Exit::OomKilled => "used more memory than allowed and was ended (--memory)".into(),
        Exit::StateQuota => "kept more than allowed and was ended (--state)".into(),
        Exit::TimedOut => "ran longer than allowed and was ended (--wall-time)".into(),
        Exit::Killed => "was ended from outside".into(),
        other => format!("ended: {other:?}").into(),
    }
}

/// The stable code and the fixed text for a client, where a server's end was the sandbox's doing.
pub(crate) fn to_client(exit: Exit) -> Option<(&'static str, &'static str)> {
    match exit {
        Exit::OomKilled => Some(("server-out-of-memory", "the server used more memory than allowed and was ended")),
        Exit::SeccompKilled => Some(("server-forbidden-call", "the server made a forbidden system call and was ended")),
        Exit::StateQuota => Some(("server-state-quota", "the server kept more than allowed and was ended")),
        Exit::TimedOut => Some(("server-wall-time", "the server ran longer than allowed and was ended")),
        // Its own end, or one that the gateway never asks for.
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_named_with_its_flag() {
        for (event, flag) in [
            (Event::OomKill { count: 2 }, "(--memory)"),
            (Event::Ended(Exit::OomKilled), "(--memory)"),
            (Event::PidsExhausted { count: 1 }, "(--processes)"),
            (Event::Ended(Exit::StateQuota), "(--state)"),
            (Event::Ended(Exit::TimedOut), "(--wall-time)"),
        ] {
            assert!(what(&event).ends_with(flag), "{event:?}: {}", what(&event));
        }
        assert_eq!(what(&Event::Ended(Exit::Exited(0))), "exited with code 0", "twin: its own end");
    }
}
