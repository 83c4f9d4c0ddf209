//! Hosts that are allowed and unwise.

use std::sync::LazyLock;

use super::{Denylist, Findings};
use crate::diagnostic::{Rule, Severity};
use crate::egress_host::{EgressHost, UnusableHost};
use crate::manifest::Values;

/// Checks one host. `credential` says whether one may go there.
pub(super) fn check(found: &mut Findings<'_>, field: &str, host: &EgressHost, credential: bool, denylist: &Denylist) {
    let text = host.as_str();
    if let Err(UnusableHost::Pattern(problem)) = host.pattern(&Values::default()) {
        found.add(
            Rule::PublicSuffixWildcard,
            field,
            problem.to_string(),
            "the proxy refuses it; name the service's hosts",
        );
    }
    if let Some(denied) = denylist.denies(text) {
        found.add(Rule::DenylistedHost, field, format!("{denied} is on the denylist"), "no server may reach it");
    }
    let base = text.trim_start_matches('*').trim_start_matches('.');
    if host.is_wildcard() && credential {
        wildcard(found, field, base);
    }
    if let Some(label) = placeholder_label(base) {
        let message = format!("`{label}` is an example's name, and belongs to whoever registers it");
        found.add(Rule::PlaceholderTenant, field, message, VARIABLE_HELP);
    } else if !host.is_wildcard() && !host.is_template() && credential {
        fixed(found, field, base);
    }
    if is_reserved(base) {
        found.add(
            Rule::ReservedName,
            field,
            format!("{base} is reserved for examples and never answers"),
            "name the service's host",
        );
    }
}

fn wildcard(found: &mut Findings<'_>, field: &str, base: &str) {
    if let Some(suffix) = tenants_of(base) {
        let message =
            format!("each name below {suffix} belongs to another customer, and the credential may go to all of them");
        found.add(Rule::SharedWildcard, field, message, VARIABLE_HELP);
    } else {
        let message = "a credential may go to every host under this wildcard";
        found.add(
            Rule::WildcardWithCredential,
            field,
            message,
            "name the hosts, or `bind` the credential to those it is for",
        );
    }
}

/// A tenant or region that the author chose for everybody.
fn fixed(found: &mut Findings<'_>, field: &str, host: &str) {
    let Some((first, rest)) = host.split_once('.') else { return };
    let own = SERVICE_LABELS.contains(&first) || SERVICE_SUFFIXES.contains(&rest);
    if tenants_of(rest).is_some_and(|suffix| suffix == rest) && !own {
        let message = format!("`{first}` is one customer of {rest}; everybody's credential would go there");
        found.add(Rule::FixedTenant, field, message, VARIABLE_HELP);
    } else if is_region(first) {
        let message = format!("`{first}` is one region of {rest}; credentials of other regions are sent there in vain");
        found.add_as(Rule::FixedTenant, Severity::Warning, field, message, VARIABLE_HELP);
    }
}

/// The domain whose subdomains belong to different customers, if this is one or below one.
fn tenants_of(base: &str) -> Option<&str> {
    static TENANTS: LazyLock<Vec<&str>> = LazyLock::new(|| {
        let lines = include_str!("tenants.txt").lines().map(str::trim);
        lines.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    });
    let private = psl::suffix(base.as_bytes()).filter(|suffix| suffix.typ() == Some(psl::Type::Private));
    if let Some(suffix) = private {
        return std::str::from_utf8(suffix.as_bytes()).ok();
    }
    let is_below =
        |tenant: &&&str| base == **tenant || base.strip_suffix(**tenant).is_some_and(|rest| rest.ends_with('.'));
    TENANTS.iter().filter(is_below).max_by_key(|tenant| tenant.len()).copied()
}

/// A label that nobody's service has, but that stands for one in documentation.
fn placeholder_label(host: &str) -> Option<&str> {
    let labels: Vec<_> = host.split('.').collect();
    let inner = labels.len().saturating_sub(1); // a top-level domain is nobody's example
    labels.into_iter().take(inner).filter(|label| !label.contains('{')).find(|label| {
        let plain = label.replace(['-', '_'], "");
        let owned = plain.strip_prefix("your").or_else(|| plain.strip_prefix("my"));
        PLACEHOLDERS.contains(&plain.as_str())
            || owned.is_some_and(|rest| {
                let rest = rest.trim_end_matches(|char: char| char.is_ascii_digit());
                OWNED.contains(&rest.strip_suffix("name").or_else(|| rest.strip_suffix("id")).unwrap_or(rest))
            })
    })
}

/// `us1`, `eu-west-1`, `usX`.
fn is_region(label: &str) -> bool {
    REGIONS.iter().any(|region| {
        label.strip_prefix(region).is_some_and(|rest| {
            let number = rest.trim_start_matches('-');
            !number.is_empty() && number.len() <= 2 && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x')
                || ["-east-", "-west-", "-central-", "-north-", "-south-"].iter().any(|middle| rest.starts_with(middle))
        })
    })
}

/// RFC 2606 and RFC 6761.
fn is_reserved(host: &str) -> bool {
    let labels: Vec<_> = host.rsplit('.').take(2).collect();
    matches!(labels[..], ["example" | "test" | "invalid", ..] | ["com" | "net" | "org", "example"])
}

const VARIABLE_HELP: &str = "let the user say it: declare it in `variables` (schemaVersion: 2) and write `{name}` here";

/// Labels below a tenants' domain that are the service's own.
const SERVICE_LABELS: [&str; 12] =
    ["accounts", "api", "app", "apps", "auth", "cdn", "developer", "login", "oauth", "static", "support", "www"];

/// Suffixes in the list of public ones below which, all the same, each name is one service of the same company.
const SERVICE_SUFFIXES: [&str; 1] = ["googleapis.com"];

const PLACEHOLDERS: [&str; 20] = [
    "acme",
    "appname",
    "changeme",
    "companyname",
    "customdomain",
    "domainname",
    "example",
    "examplecompany",
    "foo",
    "instancename",
    "orgname",
    "placeholder",
    "sitename",
    "storename",
    "subdomain",
    "tenant",
    "tenantname",
    "xxx",
    "xxxx",
    "your",
];

/// What stands behind `your` and `my`.
const OWNED: [&str; 27] = [
    "account",
    "app",
    "bucket",
    "business",
    "cluster",
    "company",
    "corp",
    "domain",
    "environment",
    "host",
    "institution",
    "instance",
    "mailbox",
    "org",
    "organisation",
    "organization",
    "project",
    "realm",
    "school",
    "server",
    "shop",
    "site",
    "store",
    "subdomain",
    "team",
    "tenant",
    "workspace",
];

const REGIONS: [&str; 9] = ["us", "eu", "ap", "au", "ca", "uk", "na", "sa", "emea"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn examples_names_are_known() {
        for (host, expected) in [
            ("yourcompany.freshdesk.com", Some("yourcompany")),
            ("your-company.freshdesk.com", Some("your-company")),
            ("yourstore.myshopify.com", Some("yourstore")),
            ("myorg.my.salesforce.com", Some("myorg")),
            ("youraccountname.api-us1.com", Some("youraccountname")),
            ("your.domo.com", Some("your")),
            ("api.acme.example.org", Some("acme")),
            ("subdomain.kommo.com", Some("subdomain")),
            ("yourdomain123.gorgias.com", Some("yourdomain123")),
            ("{tenant}.freshdesk.com", None),
            ("api.myfitnesspal.com", None),
            ("yourtube.example.org", None),
            ("api.mysql.com", None),
            ("acme-desk.org", None),
        ] {
            assert_eq!(placeholder_label(host).filter(|label| *label != "example"), expected, "{host}");
        }
    }

    #[test]
    fn regions_and_tenants_are_known() {
        for (label, expected) in [
            ("us1", true),
            ("eu-west-1", true),
            ("us2", true),
            ("usx", true),
            ("eu", false),
            ("usage", false),
            ("api", false),
            ("use1abc", false),
        ] {
            assert_eq!(is_region(label), expected, "{label}");
        }
        for (base, expected) in [
            ("zendesk.com", Some("zendesk.com")),
            ("acme.zendesk.com", Some("zendesk.com")),
            ("myshopify.com", Some("myshopify.com")),
            ("github.io", Some("github.io")),
            ("crm.dynamics.com", Some("crm.dynamics.com")),
            ("notzendesk.com", None),
            ("example.org", None),
        ] {
            assert_eq!(tenants_of(base), expected, "{base}");
        }
    }
}
