//! Whether clients see every tool, or a few that stand for all.

/// How an aggregator lists its tools. It is the same for all its clients and does not change because one of them asked for
/// something.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[non_exhaustive]
pub enum ToolMode {
    /// Every tool.
    #[default]
    Direct,
    /// `search_tools`, `describe_tools`, `call_tool` and `call_read_only_tool`, and those that are always listed.
    Meta,
    /// [`Direct`](Self::Direct) while the list keeps to a budget, else [`Meta`](Self::Meta).
    Auto(ListBudget),
}

impl ToolMode {
    /// Whether a name is that of a tool which stands for others, in modes that have those. What has it as an alias could not be
    /// called there.
    #[must_use]
    pub fn reserves(name: &str) -> bool {
        super::MetaTool::named(name).is_some()
    }
}

/// What a list of tools may cost.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ListBudget {
    /// Tools; some clients take no more than 40. Default 40.
    pub max_tools: usize,
    /// Tokens, as [`estimated_tokens`](crate::estimated_tokens) counts them. Default 10,000, 5 % of a context of 200,000.
    pub max_tokens: usize,
}

impl Default for ListBudget {
    fn default() -> Self {
        Self { max_tools: 40, max_tokens: 10_000 }
    }
}

impl ListBudget {
    /// Whether a list is too long. One that was keeps being so until it is shorter by a fifth: a tool more or less at the
    /// edge must not change what clients see each time.
    pub(crate) fn is_exceeded(self, tools: usize, tokens: usize, before: bool) -> bool {
        let most = |limit: usize| if before { limit - limit.div_ceil(5) } else { limit };
        tools > most(self.max_tools) || tokens > most(self.max_tokens)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_at_the_edge_stays_what_it_was() {
        let budget = ListBudget { max_tools: 10, max_tokens: 100 };
        for (tools, tokens, before, expected) in [
            (10, 100, false, false),
            (11, 0, false, true),
            (0, 101, false, true),
            (10, 100, true, true),
            (9, 0, true, true),
            (0, 81, true, true),
            (8, 80, true, false),
        ] {
            assert_eq!(budget.is_exceeded(tools, tokens, before), expected, "{tools} {tokens} {before}");
        }
    }
}
