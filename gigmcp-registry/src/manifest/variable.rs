//! What each user says at installation, such as a tenant's subdomain.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use gigmcp_egress::HostName;

use super::VariableKind;
use crate::template::Template;

/// Something that each user says at installation: without it, a manifest would have to name an example's host, and send a real
/// key to whoever owns that.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Variable {
    /// Names it within the manifest; written `{name}` where it is used.
    pub name: VariableName,
    /// What it may hold.
    pub kind: VariableKind,
    /// What the user is asked.
    pub description: String,
    /// The values there are; any if empty.
    pub choices: Vec<String>,
}

impl Variable {
    /// Checks what a user said.
    ///
    /// # Errors
    /// [`InvalidValue`] if it cannot stand where the variable is used.
    pub fn check(&self, value: &str) -> Result<(), InvalidValue> {
        let valid = match self.kind {
            VariableKind::Label => is_host_label(value),
            VariableKind::Host => value.parse::<HostName>().is_ok_and(|host| host.as_str() == value),
            VariableKind::Text => is_text(value),
        };
        let invalid = |reason| Err(InvalidValue { variable: self.name.clone(), reason });
        match valid {
            _ if !self.choices.is_empty() && !self.choices.iter().any(|choice| choice == value) => {
                invalid(InvalidValueReason::NotAChoice)
            }
            true => Ok(()),
            false => invalid(InvalidValueReason::Kind(self.kind)),
        }
    }
}

/// The name of a variable: a lower-case letter, then up to 31 lower-case letters, digits and underscores.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct VariableName(Box<str>);

impl VariableName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for VariableName {
    type Err = InvalidVariableName;

    fn from_str(text: &str) -> Result<Self, InvalidVariableName> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        let valid = text.len() <= 32
            && text.starts_with(|char: char| char.is_ascii_lowercase())
            && text.bytes().all(plain)
            && text != "token"; // what formats call the credential
        valid.then(|| Self(text.into())).ok_or(InvalidVariableName)
    }
}

impl fmt::Display for VariableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The text cannot name a variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("a variable's name is a lower-case letter and up to 31 more, digits or `_`, and not `token`")]
pub struct InvalidVariableName;

/// What a user said, checked: a value for each variable of a manifest, and no other.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Values(BTreeMap<VariableName, String>);

impl Values {
    /// Checks what a user said against the variables of a manifest.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn new<'a>(
        variables: &[Variable],
        said: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, Vec<InvalidValue>> {
        let (mut values, mut faults) = (BTreeMap::new(), Vec::new());
        for (name, value) in said {
            let Some(variable) = variables.iter().find(|variable| variable.name.as_str() == name) else {
                let variable = VariableName(name.into());
                faults.push(InvalidValue { variable, reason: InvalidValueReason::Unknown });
                continue;
            };
            match variable.check(value) {
                Ok(()) => drop(values.insert(variable.name.clone(), value.into())),
                Err(fault) => faults.push(fault),
            }
        }
        for Variable { name, .. } in variables {
            if !values.contains_key(name) && !faults.iter().any(|fault| fault.variable == *name) {
                faults.push(InvalidValue { variable: name.clone(), reason: InvalidValueReason::Missing });
            }
        }
        if faults.is_empty() { Ok(Self(values)) } else { Err(faults) }
    }

    /// The value of a variable.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(variable, _)| variable.as_str() == name).map(|(_, value)| value.as_str())
    }

    /// A text with these values in its holes; the name of the first hole that is no variable of the manifest.
    ///
    /// # Errors
    /// That name.
    pub fn fill<'t>(&self, template: &'t Template) -> Result<String, &'t str> {
        template.fill(|name| self.value(name))
    }
}

/// Why what a user said cannot be the value of a variable.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{variable} {reason}")]
pub struct InvalidValue {
    /// The variable.
    pub variable: VariableName,
    /// Why not.
    pub reason: InvalidValueReason,
}

/// Why something is not the value of a variable.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidValueReason {
    /// Nothing was said.
    #[error("has no value")]
    Missing,
    /// The manifest has no such variable.
    #[error("is not a variable of the manifest")]
    Unknown,
    /// Not one of the choices.
    #[error("is none of its choices")]
    NotAChoice,
    /// Not of its kind.
    #[error("is not {}", kind_text(*.0))]
    Kind(VariableKind),
}

fn kind_text(kind: VariableKind) -> &'static str {
    match kind {
        VariableKind::Label => "lower-case letters, digits and inner hyphens, at most 63",
        VariableKind::Host => "a host name in lower case",
        VariableKind::Text => "one to 256 letters, digits and -._~",
    }
}

fn is_host_label(text: &str) -> bool {
    text.len() <= 63 && crate::name::is_label(text)
}

/// Unreserved characters of URLs, so that a value has one meaning in a path, an argument and a variable.
fn is_text(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    (1..=256).contains(&text.len()) && text.bytes().all(plain) && !matches!(text, "." | "..") && !text.starts_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn variable(kind: VariableKind, choices: &[&str]) -> Variable {
        let choices = choices.iter().map(|choice| (*choice).into()).collect();
        Variable { name: "subdomain".parse().expect("a name"), kind, description: "Yours".into(), choices }
    }

    #[test]
    fn a_value_cannot_leave_its_place() {
        use VariableKind::{Host, Label, Text};
        for (kind, value, valid) in [
            (Label, "acme", true),
            (Label, "acme-2", true),
            (Label, "", false),
            (Label, "evil.test", false),
            (Label, "evil.test/", false),
            (Label, "evil.test#", false),
            (Label, "user@evil", false),
            (Label, "acme:443", false),
            (Label, "*", false),
            (Label, "Acme", false),
            (Label, "-acme", false),
            (Label, "ac\u{0}me", false),
            (Host, "git.example.com", true),
            (Host, "git.example.com.", false),
            (Host, "127.0.0.1", false),
            (Host, "git.example.com:8443", false),
            (Text, "v2.1_x", true),
            (Text, "..", false),
            (Text, "a/b", false),
            (Text, "a b", false),
            (Text, "a%2fb", false),
            (Text, "--option", false),
            (Text, "a\n", false),
        ] {
            let checked = variable(kind, &[]).check(value).map_err(|fault| fault.reason);
            assert_eq!(checked, if valid { Ok(()) } else { Err(InvalidValueReason::Kind(kind)) }, "{kind:?} {value:?}");
        }
        let region = variable(Label, &["us1", "eu1"]);
        assert_eq!(region.check("eu1"), Ok(()));
        assert_eq!(region.check("us2").map_err(|fault| fault.reason), Err(InvalidValueReason::NotAChoice));
    }

    #[test]
    fn every_variable_has_a_value_and_nothing_else_has() {
        let variables = [variable(VariableKind::Label, &[])];
        let reasons = |said: &[(&str, &str)]| {
            let said = said.iter().copied();
            Values::new(&variables, said)
                .map_err(|faults| faults.into_iter().map(|fault| fault.reason).collect::<Vec<_>>())
        };
        assert_eq!(reasons(&[]), Err(vec![InvalidValueReason::Missing]));
        assert_eq!(reasons(&[("region", "x"), ("subdomain", "acme")]), Err(vec![InvalidValueReason::Unknown]));
        let values = reasons(&[("subdomain", "acme")]).expect("valid");
        assert_eq!(values.value("subdomain"), Some("acme"));
        let template = Template::parse("https://{subdomain}.example.com").expect("valid");
        assert_eq!(values.fill(&template).as_deref(), Ok("https://acme.example.com"));
    }
}
