use std::collections::BTreeMap;

/// Where a sandbox finds what it must trust, and how each runtime is told.
///
/// ```
/// use gigmcp_egress::TrustPaths;
///
/// let paths = TrustPaths::within("/.gig");
/// let mut environment = std::collections::BTreeMap::from([("JAVA_TOOL_OPTIONS".to_owned(), "-Xmx64m".to_owned())]);
/// paths.add_to(&mut environment);
/// assert_eq!(environment["SSL_CERT_FILE"], "/.gig/ca-bundle.pem");
/// assert_eq!(environment["NODE_EXTRA_CA_CERTS"], "/.gig/ca.pem");
/// assert!(environment["JAVA_TOOL_OPTIONS"].starts_with("-Xmx64m -Djavax.net.ssl.trustStore=/.gig/ca.jks "));
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct TrustPaths {
    directory: String,
}

/// How a variable makes a runtime trust.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Means {
    /// Its file replaces the runtime's roots, so it must hold the public ones too.
    Replace,
    /// Its file is added to the runtime's own roots.
    Add,
    /// Names a directory instead of a file.
    Directory,
    /// Makes the runtime read the system's store, where a bundle lies too.
    System(&'static str),
    /// Options of Java, beside others that may stand there.
    Java,
}

impl TrustPaths {
    /// The password of the Java trust store. Not a secret: a JDK wants one.
    pub const JAVA_PASSWORD: &'static str = "changeit";

    /// Files in this directory of the sandbox, an absolute path without a blank.
    pub fn within(directory: impl Into<String>) -> Self {
        Self { directory: directory.into() }
    }

    /// The public roots and the sandbox's authority, as PEM.
    pub fn bundle(&self) -> String {
        format!("{}/ca-bundle.pem", self.directory)
    }

    /// The sandbox's authority alone, as PEM.
    pub fn authority(&self) -> String {
        format!("{}/ca.pem", self.directory)
    }

    /// The public roots and the sandbox's authority, as a Java trust store.
    pub fn java_store(&self) -> String {
        format!("{}/ca.jks", self.directory)
    }

    /// The variables that make runtimes trust these files. A program that reads none of them must find the bundle in its
    /// system's places, which is for whoever builds the sandbox; one with compiled-in roots cannot be told.
    pub fn environment(&self) -> impl Iterator<Item = (&'static str, String)> {
        VARIABLES.iter().map(|(name, means)| {
            let value = match means {
                Means::Replace => self.bundle(),
                Means::Add => self.authority(),
                Means::Directory => self.directory.clone(),
                Means::System(value) => (*value).to_owned(),
                Means::Java => self.java_options(),
            };
            (*name, value)
        })
    }

    /// Sets the variables in an environment, in place of what it says about trust. Options of Java that stand there stay,
    /// before ours: of two settings of one property the last counts.
    pub fn add_to(&self, environment: &mut BTreeMap<String, String>) {
        for (name, value) in self.environment() {
            let value = match environment.remove(name) {
                Some(declared) if name == JAVA => format!("{declared} {value}"),
                Some(_) | None => value,
            };
            environment.insert(name.to_owned(), value);
        }
    }

    fn java_options(&self) -> String {
        format!(
            "-Djavax.net.ssl.trustStore={} -Djavax.net.ssl.trustStoreType=JKS -Djavax.net.ssl.trustStorePassword={}",
            self.java_store(),
            Self::JAVA_PASSWORD
        )
    }
}

const JAVA: &str = "JAVA_TOOL_OPTIONS";

const VARIABLES: &[(&str, Means)] = &[
    ("AWS_CA_BUNDLE", Means::Replace),
    ("BUNDLE_SSL_CA_CERT", Means::Replace),
    ("CARGO_HTTP_CAINFO", Means::Replace),
    ("CLOUDSDK_CORE_CUSTOM_CA_CERTS_FILE", Means::Replace),
    ("CODEX_CA_CERTIFICATE", Means::Add),
    ("CONDA_SSL_VERIFY", Means::Replace),
    ("CURL_CA_BUNDLE", Means::Replace),
    ("DENO_CERT", Means::Add),
    ("DENO_TLS_CA_STORE", Means::System("system")),
    ("GIT_SSL_CAINFO", Means::Replace),
    ("GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", Means::Replace),
    ("HEX_CACERTS_PATH", Means::Replace),
    ("HTTPLIB2_CA_CERTS", Means::Replace),
    (JAVA, Means::Java),
    ("NIX_SSL_CERT_FILE", Means::Replace),
    ("NODE_EXTRA_CA_CERTS", Means::Add),
    ("NPM_CONFIG_CAFILE", Means::Replace),
    ("PERL_LWP_SSL_CA_FILE", Means::Replace),
    ("PIP_CERT", Means::Replace),
    ("REQUESTS_CA_BUNDLE", Means::Replace),
    // OpenSSL, Go, .NET, rustls-native-certs.
    ("SSL_CERT_DIR", Means::Directory),
    ("SSL_CERT_FILE", Means::Replace),
    ("UV_NATIVE_TLS", Means::System("1")), // what UV_SYSTEM_CERTS was called before
    ("UV_SYSTEM_CERTS", Means::System("1")),
    ("YARN_HTTPS_CA_FILE_PATH", Means::Replace),
    ("npm_config_cafile", Means::Replace),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_declared_about_trust_gives_way_and_the_rest_stays() {
        let declared = [("SSL_CERT_FILE", "/tmp/mine.pem"), ("HOME", "/work"), (JAVA, "-Xmx1g")];
        let mut environment = declared.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let paths = TrustPaths::within("/trust");
        paths.add_to(&mut environment);
        assert_eq!(environment["SSL_CERT_FILE"], "/trust/ca-bundle.pem");
        assert_eq!(environment["HOME"], "/work");
        assert_eq!(environment[JAVA], format!("-Xmx1g {}", paths.java_options()));
        assert_eq!(environment.len(), VARIABLES.len() + 1);
    }

    #[test]
    fn every_variable_stands_once() {
        assert!(VARIABLES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
