//! What the owner of a profile demands of its servers, as the aggregator is told.

use std::collections::BTreeSet;

use gigmcp_mcp::{FlowLabels, FlowPolicy, Misfit, OutputText, ServerPolicy};
use serde::{Deserialize, Serialize};

use super::{MemberSettings, ProfileSettings};

/// What is done when a session could be made to send private data away.
#[derive(Clone, Copy, Debug, Deserialize, Eq, schemars::JsonSchema, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum FlowSetting {
    Off,
    Warn,
    Ask,
}

/// What a server can see and do, as its owner says.
#[derive(Clone, Copy, Debug, Deserialize, Eq, schemars::JsonSchema, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Label {
    ReadsUntrusted,
    ReadsPrivate,
    CanSend,
}

impl ProfileSettings {
    /// What is done when a session could be made to send private data away.
    pub(crate) fn flow_policy(&self) -> FlowPolicy {
        match self.flow {
            Some(FlowSetting::Off) => FlowPolicy::Off,
            Some(FlowSetting::Warn) | None => FlowPolicy::Warn,
            Some(FlowSetting::Ask) => FlowPolicy::Ask,
        }
    }

    /// What is demanded of the server of this name.
    pub(crate) fn policy(&self, server: &str) -> ServerPolicy {
        self.servers.get(server).map(MemberSettings::policy).unwrap_or_default()
    }
}

impl MemberSettings {
    fn policy(&self) -> ServerPolicy {
        let mut policy = ServerPolicy::default();
        if self.hygiene == Some(false) {
            policy.output = OutputText::AsWritten;
        }
        if self.check_arguments == Some(false) {
            policy.arguments = Misfit::Passed;
        }
        if self.strict_results {
            policy.structured_content = Misfit::Refused;
        }
        policy.rate.calls_per_minute = self.calls_per_minute;
        policy.rate.calls_per_minute_and_client = self.client_calls_per_minute;
        let limits = &mut policy.limits;
        limits.text_bytes = self.max_text_bytes.unwrap_or(limits.text_bytes);
        limits.base64_bytes = self.max_binary_bytes.unwrap_or(limits.base64_bytes);
        limits.items = self.max_items.unwrap_or(limits.items);
        policy.labels = labels(&self.labels);
        policy
    }
}

fn labels(said: &BTreeSet<Label>) -> FlowLabels {
    FlowLabels {
        reads_untrusted: said.contains(&Label::ReadsUntrusted),
        reads_private: said.contains(&Label::ReadsPrivate),
        can_send: said.contains(&Label::CanSend),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
    use super::*;
    use crate::spec::ServerName;

    #[test]
    fn what_is_said_of_a_server_is_demanded_of_it() {
        let server: ServerName = "srv".parse().unwrap();
        let mut said = ProfileSettings::default();
        for (name, value) in [
            ("hygiene", "false"),
            ("check_arguments", "false"),
            ("strict_results", "true"),
            ("calls_per_minute", "60"),
            ("max_text_bytes", "1000"),
            ("labels", r#"["reads-private","can-send"]"#),
        ] {
            said.set(Some(&server), name, Some(value)).unwrap();
        }
        said.set(None, "flow", Some("ask")).unwrap();
        assert_eq!(said.flow_policy(), FlowPolicy::Ask);
        let policy = said.policy("srv");
        assert_eq!(
            (policy.output, policy.arguments, policy.structured_content),
            (OutputText::AsWritten, Misfit::Passed, Misfit::Refused)
        );
        assert_eq!((policy.rate.calls_per_minute, policy.limits.text_bytes), (Some(60), 1000));
        assert_eq!(policy.labels, FlowLabels { reads_untrusted: false, reads_private: true, can_send: true });
        let other = said.policy("other");
        assert_eq!((other.output, other.arguments), (OutputText::Clean, Misfit::Refused));
        for (name, value) in [("labels", r#"["reads-all"]"#), ("calls_per_minute", "-1"), ("hygiene", "maybe")] {
            assert!(said.set(Some(&server), name, Some(value)).is_err(), "{name}={value}");
        }
        assert!(said.set(None, "flow", Some("sometimes")).is_err());
    }
}
