//! What a server finds inside its sandbox: its environment and the certificate authorities.

use std::collections::BTreeMap;

use gigmcp_egress::TrustPaths;

use crate::spec::EnvName;

/// Where what a server must trust lies inside.
pub(crate) fn trust() -> TrustPaths {
    TrustPaths::within("/.gig")
}

/// The only home there is; empty at every start.
const HOME: &str = "/tmp";

/// The whole environment of a server: what was declared, then `ours`, which are its placeholders and variables.
///
/// Ours comes last, so a declaration cannot point a runtime at other authorities.
pub(crate) fn environment(
    declared: &BTreeMap<EnvName, String>,
    ours: impl IntoIterator<Item = (String, String)>,
) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        declared.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    environment.extend(ours);
    for (name, value) in
        [("HOME", HOME), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")]
    {
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    trust().add_to(&mut environment);
    environment
}

/// Where a server finds what the user said at its installation.
pub(crate) fn variables(said: &BTreeMap<String, String>) -> impl Iterator<Item = (String, String)> {
    said.iter().map(|(name, value)| (format!("GIG_VAR_{}", name.to_ascii_uppercase()), value.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_cannot_replace_the_authorities() {
        let name = |text: &str| text.parse::<EnvName>().expect("a name");
        let declared =
            BTreeMap::from([(name("SSL_CERT_FILE"), "/tmp/mine.pem".to_owned()), (name("HOME"), "/work".to_owned())]);
        let environment = environment(&declared, [("API_KEY".to_owned(), "placeholder".to_owned())]);
        assert_eq!(environment["SSL_CERT_FILE"], trust().bundle());
        assert_eq!(environment["HOME"], "/work"); // twin: what is not about trust may be set
        assert_eq!(environment["API_KEY"], "placeholder");
    }
}
