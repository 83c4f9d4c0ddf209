//! What the gateway owns, and so may differ. Nothing else is.

/// A difference that is ours.
pub(crate) struct Explained {
    /// The request's method.
    pub(crate) method: &'static str,
    /// Where in the result: members joined by `/`, with `*` for any one.
    pub(crate) path: &'static str,
    pub(crate) why: Why,
}

/// What may stand there instead.
pub(crate) enum Why {
    /// The same, behind the server's name and `_`.
    Prefixed,
    /// A refusal of the gateway's own: it knows every name, and does not ask a server for one that it does not have.
    UnknownName,
    /// A refusal of the gateway's own: it checks arguments against the tool's schema, and does not trouble a server with what
    /// that refuses too. Whatever the server would take is a difference.
    UnfitArguments,
    /// A tool that can only be called as a task of the older era can be called by anybody through the gateway, which waits for
    /// the task.
    TaskWaitedFor,
    /// A hint that says less of what a tool does than its manifest, which is what the protocol takes an absent hint for.
    LooseHint,
    /// A server hears when it starts what clients can be asked, before there are any. One that then asks a client that
    /// cannot be asked is refused a moment later than it would have been.
    AskedInVain,
}

/// All of them.
pub(crate) const EXPLAINED: &[Explained] = &[
    Explained { method: "tools/list", path: "name", why: Why::Prefixed },
    Explained { method: "prompts/list", path: "name", why: Why::Prefixed },
    Explained { method: "tools/list", path: "execution/taskSupport", why: Why::TaskWaitedFor },
    Explained { method: "tools/list", path: "annotations/readOnlyHint", why: Why::LooseHint },
    Explained { method: "tools/list", path: "annotations/destructiveHint", why: Why::LooseHint },
    Explained { method: "tools/list", path: "annotations/idempotentHint", why: Why::LooseHint },
    Explained { method: "tools/list", path: "annotations/openWorldHint", why: Why::LooseHint },
    Explained { method: "tools/call", path: "", why: Why::UnknownName },
    Explained { method: "prompts/get", path: "", why: Why::UnknownName },
    Explained { method: "tools/call", path: "", why: Why::UnfitArguments },
    Explained { method: "tools/call", path: "content/*/text", why: Why::AskedInVain },
];
