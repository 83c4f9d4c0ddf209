//! What a server finds inside its sandbox: its environment and the certificate authorities.

use std::collections::BTreeMap;

use crate::spec::EnvName;

/// Where the bundle of public roots and our own authority lies inside.
pub(crate) const CA_BUNDLE: &str = "/.gig/ca-bundle.pem";
/// Where our own authority alone lies inside, for runtimes that add to their own roots.
pub(crate) const CA: &str = "/.gig/ca.pem";
/// The only home there is; empty at every start.
const HOME: &str = "/tmp";

/// The whole environment of a server: ours, what the operator declared, and the placeholders.
///
/// Ours comes last, so a declaration cannot point a runtime at other authorities.
pub(crate) fn environment(
    declared: &BTreeMap<EnvName, String>,
    placeholders: impl IntoIterator<Item = (EnvName, String)>,
) -> BTreeMap<String, String> {
    let mut environment: BTreeMap<String, String> =
        declared.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
    environment.extend(placeholders.into_iter().map(|(name, value)| (name.to_string(), value)));
    for (name, value) in
        [("HOME", HOME), ("TMPDIR", "/tmp"), ("LANG", "C.UTF-8"), ("PATH", "/usr/local/bin:/usr/bin:/bin")]
    {
        environment.entry(name.to_owned()).or_insert_with(|| value.to_owned());
    }
    environment.extend(REPLACE.iter().map(|name| ((*name).to_owned(), CA_BUNDLE.to_owned())));
    environment.extend(ADD.iter().map(|name| ((*name).to_owned(), CA.to_owned())));
    environment
}

/// Variables whose file replaces the runtime's roots, so it must hold the public ones too.
const REPLACE: [&str; 18] = [
    "AWS_CA_BUNDLE",
    "BUNDLE_SSL_CA_CERT",
    "CARGO_HTTP_CAINFO",
    "CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE",
    "CONDA_SSL_VERIFY",
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
    "HEX_CACERTS_PATH",
    "NIX_SSL_CERT_FILE",
    "NPM_CONFIG_CAFILE",
    "PERL_LWP_SSL_CA_FILE",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
    "YARN_HTTPS_CA_FILE_PATH",
    "npm_config_cafile",
    "HTTPLIB2_CA_CERTS",
];
/// Variables whose file is added to the runtime's own roots.
const ADD: [&str; 3] = ["CODEX_CA_CERTIFICATE", "DENO_CERT", "NODE_EXTRA_CA_CERTS"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_cannot_replace_the_authorities() {
        let name = |text: &str| text.parse::<EnvName>().expect("a name");
        let declared =
            BTreeMap::from([(name("SSL_CERT_FILE"), "/tmp/mine.pem".to_owned()), (name("HOME"), "/work".to_owned())]);
        let environment = environment(&declared, [(name("API_KEY"), "placeholder".to_owned())]);
        assert_eq!(environment["SSL_CERT_FILE"], CA_BUNDLE);
        assert_eq!(environment["HOME"], "/work"); // twin: what is not about trust may be set
        assert_eq!(environment["API_KEY"], "placeholder");
    }
}
