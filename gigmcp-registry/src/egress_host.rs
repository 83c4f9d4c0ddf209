//! The hosts a manifest asks to reach.

use std::fmt;
use std::str::FromStr;

use gigmcp_egress::{HostName, HostPattern, InvalidHostPattern};

use crate::manifest::{Values, Variable, VariableKind};
use crate::name::is_label;
use crate::template::{InvalidTemplate, Template};

/// An entry of a manifest's egress list. What it matches is decided by what enforces it: [`HostPattern`].
///
/// In schema version 1, a lower-case host name, or `*.` and a suffix of at least two labels: well-formed, but a suffix that anyone
/// can register under is found only when its pattern is asked for, so that one such manifest does not make an index unreadable.
/// From version 2, every pattern of the enforcing crate, in the one spelling it prints, with `{variables}`.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct EgressHost {
    text: Box<str>,
    form: Form,
}

#[derive(Clone, Debug, Eq, Hash, PartialEq)]
enum Form {
    /// Complete, or of version 1 and too wide.
    Text,
    Template(Template),
}

impl EgressHost {
    /// The entry as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether the user says a part of it.
    #[must_use]
    pub fn is_template(&self) -> bool {
        matches!(self.form, Form::Template(_))
    }

    /// Whether it speaks of more than one host.
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.text.starts_with('*')
    }

    /// The names of its variables.
    pub fn variables(&self) -> impl Iterator<Item = &str> {
        let template = match &self.form {
            Form::Template(template) => Some(template),
            Form::Text => None,
        };
        template.into_iter().flat_map(Template::holes)
    }

    /// What is allowed, with what the user said.
    ///
    /// # Errors
    /// [`UnusableHost`] if it covers names that anyone can register, or a variable has no value.
    pub fn pattern(&self, values: &Values) -> Result<HostPattern, UnusableHost> {
        let pattern = match &self.form {
            Form::Text => self.text.parse(),
            Form::Template(template) => {
                let missing = |name: &str| UnusableHost::MissingValue { variable: name.into() };
                values.fill(template).map_err(missing)?.parse()
            }
        };
        pattern.map_err(UnusableHost::Pattern)
    }

    /// Reads an entry of schema version 2.
    ///
    /// # Errors
    /// [`InvalidEgressHost`] says what it is instead.
    pub(crate) fn with_variables(text: &str, variables: &[Variable]) -> Result<Self, InvalidEgressHost> {
        let template = Template::parse(text)?;
        if template.holes().next().is_none() {
            let pattern: HostPattern = text.parse()?;
            let canonical = pattern.to_string();
            let form = Form::Text;
            return if canonical == text {
                Ok(Self { text: text.into(), form })
            } else {
                Err(InvalidEgressHost::Spelling { canonical })
            };
        }
        let mut whole = false;
        for hole in template.holes() {
            let variable = variables.iter().find(|variable| variable.name.as_str() == hole);
            match variable.map(|variable| variable.kind) {
                Some(VariableKind::Label) => {}
                Some(VariableKind::Host) if template.is_hole() => whole = true,
                Some(kind) => {
                    return Err(InvalidEgressHost::VariableKind { variable: hole.into(), kind: kind.as_str() });
                }
                None => return Err(InvalidEgressHost::UnknownVariable { variable: hole.into() }),
            }
        }
        if !whole {
            let suffix = fixed_suffix(&template).unwrap_or_default();
            suffix.parse::<HostPattern>().map_err(|_| InvalidEgressHost::OpenSuffix { suffix: suffix.into() })?;
            let probed = template.fill(|_| Some(PROBE)).expect("every hole is filled");
            let pattern: HostPattern = probed.parse()?;
            if pattern.to_string() != probed {
                return Err(InvalidEgressHost::Spelling { canonical: text.to_ascii_lowercase() });
            }
        }
        Ok(Self { text: text.into(), form: Form::Template(template) })
    }

    /// Whether everything that `other` allows is allowed by this entry too, whatever the user says.
    pub(crate) fn covers(&self, other: &Self) -> bool {
        if self.text == other.text {
            return true;
        }
        let (Ok(pattern), Ok(samples)) = (self.text.parse::<HostPattern>(), other.samples()) else { return false };
        samples.iter().all(|sample| pattern.matches(sample))
    }

    /// Hosts that stand for all it allows: two deep where any depth is meant, so that a narrower wildcard misses one.
    fn samples(&self) -> Result<Vec<HostName>, gigmcp_egress::InvalidHostName> {
        let filled = match &self.form {
            Form::Template(template) if !template.is_hole() => {
                template.fill(|_| Some(PROBE)).expect("every hole is filled")
            }
            Form::Template(_) => return Err(gigmcp_egress::InvalidHostName::Empty),
            Form::Text => self.text.to_string(),
        };
        let names = match (filled.strip_prefix("**."), filled.strip_prefix("*.")) {
            (Some(base), _) => vec![format!("{PROBE}.{base}"), format!("{PROBE}.{PROBE}.{base}")],
            (None, Some(base)) => vec![format!("{PROBE}.{base}")],
            (None, None) => vec![filled],
        };
        names.iter().map(|name| name.parse()).collect()
    }
}

/// The whole labels behind the last hole.
fn fixed_suffix(template: &Template) -> Option<&str> {
    template.tail().split_once('.').map(|(_, suffix)| suffix)
}

impl FromStr for EgressHost {
    type Err = InvalidEgressHost;

    /// Reads an entry of schema version 1.
    fn from_str(text: &str) -> Result<Self, InvalidEgressHost> {
        let name = text.strip_prefix("*.").unwrap_or(text);
        let wide = name.len() < text.len();
        let labels = name.split('.').count();
        let valid = name.len() <= 253
            && name.split('.').all(|label| label.len() <= 63 && is_label(label))
            && !name.rsplit('.').next().is_some_and(is_number)
            && (labels >= 2 || !wide);
        valid.then(|| Self { text: text.into(), form: Form::Text }).ok_or(InvalidEgressHost::Form)
    }
}

impl fmt::Display for EgressHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is not an egress entry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidEgressHost {
    /// Not of the form of schema version 1.
    #[error("an egress host is a lower-case name, or `*.` and at least two labels; no address, port or path")]
    Form,
    /// Not a pattern of what enforces it.
    #[error(transparent)]
    Pattern(#[from] InvalidHostPattern),
    /// Braces that do not pair.
    #[error(transparent)]
    Template(#[from] InvalidTemplate),
    /// A second spelling of a pattern.
    #[error("is another spelling of {canonical}")]
    Spelling {
        /// The one spelling.
        canonical: String,
    },
    /// The manifest does not declare the variable.
    #[error("uses `{{{variable}}}`, which is not in `variables`")]
    UnknownVariable {
        /// Its name.
        variable: String,
    },
    /// A variable of this kind cannot be part of a host.
    #[error("uses `{{{variable}}}` of type {kind}, where only a label can stand, or a host alone")]
    VariableKind {
        /// Its name.
        variable: String,
        /// Its kind.
        kind: &'static str,
    },
    /// The user could be made to say anybody's name.
    #[error(
        "has `{suffix}` behind the last variable, under which anyone can register a name; it must be the service's own"
    )]
    OpenSuffix {
        /// What stands behind the last variable.
        suffix: String,
    },
}

/// Why an entry allows nothing.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum UnusableHost {
    /// It covers names that anyone can register.
    #[error(transparent)]
    Pattern(InvalidHostPattern),
    /// The user has not said a part of it.
    #[error("the variable {variable} has no value")]
    MissingValue {
        /// Its name.
        variable: String,
    },
}

/// A label that stands for any other.
const PROBE: &str = "zq7x0";

/// What a resolver may read as part of an address: `127`, `0x7f`.
fn is_number(label: &str) -> bool {
    let digits = label.strip_prefix("0x");
    label.bytes().all(|byte| byte.is_ascii_digit())
        || digits.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests;
