//! Who takes part in a start.

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Part {
    /// A thread of the host process.
    Host,
    /// A process of the host's, before it runs a program that is known.
    Foreign,
    /// The bootstrap, which becomes the monitor.
    Outer,
    /// PID 1.
    Init,
    /// The server's process, before its program.
    Server,
}

impl Part {
    /// What a new task of this one's is.
    pub(crate) fn child(self, is_thread: bool) -> Self {
        match self {
            Self::Host if is_thread => Self::Host,
            Self::Host | Self::Foreign | Self::Server => Self::Foreign,
            Self::Outer => Self::Init,
            Self::Init => Self::Server,
        }
    }

    pub(crate) fn parse(text: &str) -> Self {
        match text {
            "host" => Self::Host,
            "outer" => Self::Outer,
            "init" => Self::Init,
            "server" => Self::Server,
            _ => panic!("{text:?}"),
        }
    }
}
