//! Which requests are sent. Another method is another line.

/// A list whose items are compared one by one, because the gateway's has those of every server, and its own pages.
pub(crate) struct Listing {
    pub(crate) method: &'static str,
    /// The member of the result that holds the items.
    pub(crate) member: &'static str,
    /// The member of an item that names it.
    pub(crate) key: &'static str,
    /// The method that uses the key.
    pub(crate) used_by: &'static str,
    /// Whether the gateway puts the server's name in front of the key.
    pub(crate) prefixed: bool,
}

/// What is listed.
pub(crate) const LISTINGS: &[Listing] =
    &[Listing { method: "tools/list", member: "tools", key: "name", used_by: "tools/call", prefixed: true }];

/// Methods whose `name` the gateway puts the server's name in front of.
pub(crate) const NAMED: &[&str] = &["tools/call", "prompts/get"];

/// One request, with what follows the name in its parameters, as it is written on the wire.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) method: &'static str,
    /// Of the tool or prompt, without the server's.
    pub(crate) name: String,
    /// Further members: `,"arguments":{…}`.
    pub(crate) rest: String,
}

impl Request {
    pub(crate) fn call(tool: &str, arguments: &str) -> Self {
        Self { method: "tools/call", name: tool.to_owned(), rest: format!(r#","arguments":{arguments}"#) }
    }

    /// A call whose parameters have no `arguments`.
    pub(crate) fn bare(tool: &str) -> Self {
        Self { method: "tools/call", name: tool.to_owned(), rest: String::new() }
    }

    /// The parameters, with `prefix` in front of the name if the gateway has one for this method.
    pub(crate) fn params(&self, prefix: &str) -> String {
        let prefix = if NAMED.contains(&self.method) { prefix } else { "" };
        format!(r#"{{"name":"{prefix}{}"{}}}"#, self.name, self.rest)
    }
}
