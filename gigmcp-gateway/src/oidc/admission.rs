//! Whom the provider's claims let in, and as what.

use std::{fmt, str::FromStr};

use serde_json::{Map, Value};

use crate::people::{Email, Role};

/// What a provider says of somebody, proven to be of it.
pub(crate) type Claims = Map<String, Value>;

/// Which claims matter, and what they must say.
#[derive(Clone, Debug, Default)]
pub(crate) struct Admission {
    pub(crate) role_claim: ClaimPath,
    /// Empty if roles are given here.
    pub(crate) role_map: Vec<RoleMapping>,
    pub(crate) group_claim: ClaimPath,
    /// Empty if all are let in.
    pub(crate) groups: Vec<String>,
    /// In lower case; empty if all are let in.
    pub(crate) domains: Vec<String>,
}

/// Why somebody is not let in, although it is they.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum NotAdmitted {
    #[error("no verified address of an allowed domain")]
    Domain,
    #[error("in no allowed group")]
    Group,
    #[error("no role that is one here")]
    Role,
}

impl NotAdmitted {
    /// For the audit trail.
    pub(crate) fn cause(self) -> &'static str {
        match self {
            Self::Domain => "domain",
            Self::Group => "group",
            Self::Role => "role",
        }
    }
}

impl Admission {
    /// Whether these claims speak of what was missing.
    pub(super) fn speaks_of(&self, why: NotAdmitted, claims: &Claims) -> bool {
        match why {
            NotAdmitted::Domain => tells_of_address(claims),
            NotAdmitted::Group => self.group_claim.find(claims).is_some(),
            NotAdmitted::Role => self.role_claim.find(claims).is_some(),
        }
    }

    /// The role that somebody with these claims has here; none if the provider does not say. `email` is verified.
    pub(crate) fn judge(&self, claims: &Claims, email: Option<&Email>) -> Result<Option<Role>, NotAdmitted> {
        let domain = email.and_then(|email| email.as_str().rsplit_once('@')).map(|(_, domain)| domain);
        if !self.domains.is_empty() && !domain.is_some_and(|domain| self.domains.iter().any(|one| one == domain)) {
            return Err(NotAdmitted::Domain);
        }
        let groups = self.group_claim.values(claims);
        if !self.groups.is_empty() && !groups.iter().any(|group| self.groups.iter().any(|one| one == group)) {
            return Err(NotAdmitted::Group);
        }
        if self.role_map.is_empty() {
            return Ok(None);
        }
        let roles = self.role_claim.values(claims);
        let mapped =
            self.role_map.iter().filter(|mapping| roles.contains(&&*mapping.claimed)).map(|mapping| mapping.role);
        mapped.max().map(Some).ok_or(NotAdmitted::Role)
    }
}

/// Whether it names an address, and says whether that is verified.
pub(super) fn tells_of_address(claims: &Claims) -> bool {
    claims.contains_key("email") && claims.contains_key("email_verified")
}

/// A role of the provider, and what it is here.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct RoleMapping {
    claimed: Box<str>,
    role: Role,
}

impl FromStr for RoleMapping {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (claimed, role) = text.rsplit_once('=').ok_or("give ROLE=ROLE, such as gig-admins=admin")?;
        let role = role.trim().parse::<Role>().map_err(|error| error.to_string())?;
        match claimed.trim() {
            "" => Err("give ROLE=ROLE, such as gig-admins=admin".to_owned()),
            claimed => Ok(Self { claimed: claimed.into(), role }),
        }
    }
}

/// Where in the claims something stands.
///
/// One spelling has one meaning, whatever the claims are, so that nobody who chooses the name of a claim can stand in for another:
/// with `/` first it is a JSON pointer (RFC 6901); with a colon it is the name of one claim, dots and all, as URLs and URNs are;
/// otherwise its dots lead into objects.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct ClaimPath(Vec<Box<str>>);

/// A text that is no such place.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error(
    "write a claim as `roles`, `realm_access.roles`, `urn:example:roles`, or as a JSON pointer such as `/realm_access/roles`"
)]
pub(crate) struct InvalidClaimPath;

impl FromStr for ClaimPath {
    type Err = InvalidClaimPath;

    fn from_str(text: &str) -> Result<Self, InvalidClaimPath> {
        let names: Vec<Box<str>> = match text.strip_prefix('/') {
            Some(pointer) => pointer.split('/').map(unescaped).collect::<Result<_, _>>()?,
            None if text.contains(':') => vec![text.into()],
            None => text.split('.').map(Into::into).collect(),
        };
        match names.iter().any(|name| name.is_empty()) || text.len() > 512 {
            true => Err(InvalidClaimPath),
            false => Ok(Self(names)),
        }
    }
}

/// One name of a JSON pointer.
fn unescaped(name: &str) -> Result<Box<str>, InvalidClaimPath> {
    let rest = name.replace("~0", "").replace("~1", "");
    match rest.contains('~') {
        true => Err(InvalidClaimPath),
        false => Ok(name.replace("~1", "/").replace("~0", "~").into()),
    }
}

impl fmt::Display for ClaimPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|name| write!(formatter, "/{}", name.replace('~', "~0").replace('/', "~1")))
    }
}

impl ClaimPath {
    fn find<'a>(&self, claims: &'a Claims) -> Option<&'a Value> {
        let (first, rest) = self.0.split_first()?;
        rest.iter().try_fold(claims.get(&**first)?, |value, name| value.get(&**name))
    }

    /// What stands there: a text, the texts of a list, or the names of an object but those that are null or false.
    fn values<'a>(&self, claims: &'a Claims) -> Vec<&'a str> {
        match self.find(claims) {
            Some(Value::String(text)) => vec![text],
            Some(Value::Array(list)) => list.iter().filter_map(Value::as_str).collect(),
            Some(Value::Object(object)) => {
                let holds = |value: &Value| !matches!(value, Value::Null | Value::Bool(false));
                object.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.as_str()).collect()
            }
            Some(Value::Null | Value::Bool(_) | Value::Number(_)) | None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn claims(value: Value) -> Claims {
        value.as_object().expect("an object").clone()
    }

    #[test]
    fn a_claim_is_found_by_one_reading_of_its_path() {
        let claims = claims(json!({
            "roles": ["a", 1, "b"], "role": "one", "realm_access": { "roles": ["c"] }, "realm_access.roles": ["not this"],
            "https://x/roles": ["d"], "https://x.example/roles": ["e"], "a/b~c": ["f"],
            "urn:zitadel:iam:org:project:roles": { "admin": { "1": "x" }, "gone": null, "off": false }, "flag": true,
        }));
        for (path, expected) in [
            ("roles", &["a", "b"][..]),
            ("role", &["one"]),
            ("realm_access.roles", &["c"]),
            ("/realm_access/roles", &["c"]),
            ("/realm_access.roles", &["not this"]),
            ("https://x/roles", &["d"]),
            ("https://x.example/roles", &["e"]),
            ("/https:~1~1x~1roles", &["d"]),
            ("/a~1b~0c", &["f"]),
            ("urn:zitadel:iam:org:project:roles", &["admin"]),
            ("flag", &[]),
            ("roles.more", &[]),
            ("nothing", &[]),
        ] {
            assert_eq!(path.parse::<ClaimPath>().expect("a path").values(&claims), expected, "{path}");
        }
        for path in ["", "a..b", ".a", "/", "/a/", "/a~2"] {
            assert_eq!(path.parse::<ClaimPath>(), Err(InvalidClaimPath), "{path:?}");
        }
    }

    #[test]
    fn who_is_let_in_and_as_what() {
        let mapped =
            |map: &[&str]| map.iter().map(|text| text.parse().expect("a mapping")).collect::<Vec<RoleMapping>>();
        let admission = Admission {
            role_claim: "roles".parse().expect("a path"),
            role_map: mapped(&["gig-admins=admin", "staff=user", "k=v=auditor"]),
            group_claim: "groups".parse().expect("a path"),
            groups: vec!["gig".to_owned()],
            domains: vec!["example.com".to_owned()],
        };
        let ann = Some("ann@example.com");
        for (case, email, said, expected) in [
            ("twin", ann, json!({ "roles": ["staff"], "groups": ["gig"] }), Ok(Some(Role::User))),
            ("highest", ann, json!({ "roles": ["staff", "gig-admins"], "groups": ["gig"] }), Ok(Some(Role::Admin))),
            ("name with =", ann, json!({ "roles": "k=v", "groups": ["gig"] }), Ok(Some(Role::Auditor))),
            ("other role", ann, json!({ "roles": ["Staff"], "groups": ["gig"] }), Err(NotAdmitted::Role)),
            ("no role", ann, json!({ "groups": ["gig"] }), Err(NotAdmitted::Role)),
            ("other group", ann, json!({ "roles": ["staff"], "groups": ["gigs"] }), Err(NotAdmitted::Group)),
            ("no group", ann, json!({ "roles": ["staff"] }), Err(NotAdmitted::Group)),
            ("no address", None, json!({ "roles": ["staff"], "groups": ["gig"] }), Err(NotAdmitted::Domain)),
            (
                "other domain",
                Some("ann@a.example.com"),
                json!({ "roles": ["staff"], "groups": ["gig"] }),
                Err(NotAdmitted::Domain),
            ),
        ] {
            let email = email.map(|email| email.parse().expect("an address"));
            assert_eq!(admission.judge(&claims(said), email.as_ref()), expected, "{case}");
        }
        assert_eq!(Admission::default().judge(&claims(json!({})), None), Ok(None), "twin: nothing is demanded");
        for text in ["admin", "=admin", "x=root", "x="] {
            assert!(text.parse::<RoleMapping>().is_err(), "{text}");
        }
    }
}
