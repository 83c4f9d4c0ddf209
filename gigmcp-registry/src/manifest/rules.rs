//! The rules for single values that have no type of their own.

use super::problem::Problem;
use crate::name::is_label;

pub(super) fn plain_word(text: &str) -> Result<(), Problem> {
    let valid = text.bytes().all(|byte| byte.is_ascii_graphic()) && !text.starts_with('-') && text.len() <= 512;
    required(text)?;
    valid.then_some(()).ok_or(Problem::PlainWord)
}

pub(crate) fn line(text: &str, max_bytes: usize) -> Result<(), Problem> {
    let valid = text.len() <= max_bytes && !text.chars().any(char::is_control);
    valid.then_some(()).ok_or(Problem::Text { max_bytes })
}

pub(crate) fn paragraph(text: &str, max_bytes: usize) -> Result<(), Problem> {
    let valid = text.len() <= max_bytes && !text.chars().any(|char| char.is_control() && char != '\n');
    valid.then_some(()).ok_or(Problem::Text { max_bytes })
}

pub(super) fn slug(text: &str) -> Result<(), Problem> {
    (text.len() <= 64 && is_label(text)).then_some(()).ok_or(Problem::Slug)
}

/// `^[a-zA-Z0-9._/-]+$`, no `..`, not absolute; nor may it look like an option.
pub(super) fn package(text: &str) -> Result<(), Problem> {
    let valid = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'/' | b'-'))
        && !text.contains("..")
        && !text.starts_with(['/', '-'])
        && text.len() <= 256;
    valid.then_some(()).ok_or(Problem::Package)
}

pub(super) fn entrypoint(text: &str, own_directory: bool) -> Result<(), Problem> {
    required(text)?;
    let segments = text.strip_prefix('/').ok_or(Problem::Entrypoint)?;
    let plain =
        |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(|byte| byte.is_ascii_graphic());
    if text.len() > 256 || !segments.split('/').all(plain) {
        return Err(Problem::Entrypoint);
    }
    (segments.contains('/') || !own_directory).then_some(()).ok_or(Problem::EntrypointInRoot)
}

/// A token of RFC 9110, section 5.6.2, that is not about the connection or the route.
pub(crate) fn header_name(text: &str) -> Result<(), Problem> {
    required(text)?;
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    if text.len() > 128 || !text.bytes().all(token) {
        return Err(Problem::HeaderName);
    }
    let lower = text.to_ascii_lowercase();
    let reserved = RESERVED_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-");
    (!reserved).then_some(()).ok_or(Problem::ReservedHeader)
}

pub(super) fn format(text: &str) -> Result<(), Problem> {
    required(text)?;
    let printable = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
    let valid = printable && text.matches("{token}").count() == 1 && text.trim() == text && text.len() <= 256;
    valid.then_some(()).ok_or(Problem::Format)
}

pub(super) fn env_name(text: &str) -> Result<(), Problem> {
    required(text)?;
    let valid = text.len() <= 128
        && !text.starts_with(|char: char| char.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_');
    if !valid {
        return Err(Problem::EnvName);
    }
    let reserved = RESERVED_ENV.contains(&text)
        || RESERVED_ENV_PREFIXES.iter().any(|prefix| text.starts_with(prefix))
        || text.ends_with("_PROXY")
        || text.ends_with("_OPTIONS");
    (!reserved).then_some(()).ok_or(Problem::ReservedEnv)
}

/// What a segment of a path begins with: unreserved characters, or nothing.
pub(super) fn path_prefix(text: &str) -> Result<(), Problem> {
    let unreserved = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    let valid = text.len() <= 64 && text.bytes().all(unreserved) && !text.starts_with('.');
    valid.then_some(()).ok_or(Problem::PathPrefix)
}

pub(super) fn key_prefix(text: &str) -> Result<(), Problem> {
    let valid = text.len() <= 64 && text.bytes().all(|byte| byte.is_ascii_graphic());
    valid.then_some(()).ok_or(Problem::KeyPrefix)
}

/// A directory of its own that hides nothing of the system.
pub(super) fn writable_path(text: &str) -> Result<(), Problem> {
    entrypoint(text, false).map_err(|problem| match problem {
        Problem::Missing => problem,
        _ => Problem::WritablePath,
    })?;
    let top = text.split('/').nth(1).unwrap_or_default();
    (!SYSTEM_DIRECTORIES.contains(&top)).then_some(()).ok_or(Problem::WritablePath)
}

/// A scope token of RFC 6749, section 3.3.
pub(super) fn scope(text: &str) -> Result<(), Problem> {
    required(text)?;
    let valid = text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\\')) && text.len() <= 256;
    valid.then_some(()).ok_or(Problem::PlainWord)
}

fn required(text: &str) -> Result<(), Problem> {
    (!text.is_empty()).then_some(()).ok_or(Problem::Missing)
}

const SYSTEM_DIRECTORIES: [&str; 11] =
    ["bin", "boot", "dev", "etc", "lib", "lib32", "lib64", "proc", "sbin", "sys", "usr"];

const RESERVED_HEADERS: [&str; 11] = [
    "host",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "expect",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

const RESERVED_ENV_PREFIXES: [&str; 12] =
    ["CORECLR_", "DYLD_", "GIG_", "GLIBC_", "LD_", "LUA_", "MALLOC_", "OPENSSL_", "PERL", "PYTHON", "RUBY", "SSL_"];

const RESERVED_ENV: [&str; 33] = [
    "AWS_CA_BUNDLE",
    "BASHOPTS",
    "BASH_ENV",
    "CLASSPATH",
    "CURL_CA_BUNDLE",
    "DOTNET_STARTUP_HOOKS",
    "ENV",
    "GEM_HOME",
    "GEM_PATH",
    "GIT_SSH",
    "GIT_SSH_COMMAND",
    "GODEBUG",
    "HOME",
    "HOSTALIASES",
    "IFS",
    "LOCALDOMAIN",
    "LOCPATH",
    "NLSPATH",
    "NODE_EXTRA_CA_CERTS",
    "NODE_PATH",
    "NODE_REPL_EXTERNAL_MODULE",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "PATH",
    "PHPRC",
    "PHP_INI_SCAN_DIR",
    "PROMPT_COMMAND",
    "PS4",
    "REQUESTS_CA_BUNDLE",
    "SHELL",
    "SHELLOPTS",
    "TMPDIR",
    "GCONV_PATH",
    "GOTRACEBACK",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_names() {
        for (text, expected) in [
            ("Authorization", None),
            ("X-Api-Key", None),
            ("", Some(Problem::Missing)),
            ("X Key", Some(Problem::HeaderName)),
            ("X-Key:", Some(Problem::HeaderName)),
            ("X-Key\r\nHost", Some(Problem::HeaderName)),
            ("hOsT", Some(Problem::ReservedHeader)),
            ("Content-Length", Some(Problem::ReservedHeader)),
            ("Proxy-Authorization", Some(Problem::ReservedHeader)),
        ] {
            assert_eq!(header_name(text).err(), expected, "{text:?}");
        }
    }

    #[test]
    fn formats() {
        for (text, expected) in [
            ("Bearer {token}", None),
            ("{token}", None),
            ("", Some(Problem::Missing)),
            ("Bearer", Some(Problem::Format)),
            ("{token}{token}", Some(Problem::Format)),
            ("Bearer {token}\r\nX: y", Some(Problem::Format)),
            ("Bearer {token} ", Some(Problem::Format)),
            ("Schlüssel {token}", Some(Problem::Format)),
        ] {
            assert_eq!(format(text).err(), expected, "{text:?}");
        }
    }

    #[test]
    fn env_names() {
        for (text, expected) in [
            ("GITHUB_TOKEN", None),
            ("_KEY2", None),
            ("", Some(Problem::Missing)),
            ("2KEY", Some(Problem::EnvName)),
            ("key", Some(Problem::EnvName)),
            ("A=B", Some(Problem::EnvName)),
            ("LD_PRELOAD", Some(Problem::ReservedEnv)),
            ("PATH", Some(Problem::ReservedEnv)),
            ("NODE_OPTIONS", Some(Problem::ReservedEnv)),
            ("JAVA_TOOL_OPTIONS", Some(Problem::ReservedEnv)),
            ("HTTPS_PROXY", Some(Problem::ReservedEnv)),
            ("PYTHONSTARTUP", Some(Problem::ReservedEnv)),
            ("SSL_CERT_FILE", Some(Problem::ReservedEnv)),
            ("OPENSSL_CONF", Some(Problem::ReservedEnv)),
            ("PERLLIB", Some(Problem::ReservedEnv)),
            ("CLASSPATH", Some(Problem::ReservedEnv)),
            ("DOTNET_STARTUP_HOOKS", Some(Problem::ReservedEnv)),
            ("GIT_SSH_COMMAND", Some(Problem::ReservedEnv)),
            ("HOSTALIASES", Some(Problem::ReservedEnv)),
            ("PERPLEXITY_API_KEY", None),
            ("OPENAI_API_KEY", None),
            ("GIT_TOKEN", None),
        ] {
            assert_eq!(env_name(text).err(), expected, "{text:?}");
        }
    }

    #[test]
    fn entrypoints_and_packages() {
        for (text, own_directory, expected) in [
            ("/app/server", true, None),
            ("/server", false, None),
            ("/server", true, Some(Problem::EntrypointInRoot)),
            ("", false, Some(Problem::Missing)),
            ("app/server", false, Some(Problem::Entrypoint)),
            ("/", false, Some(Problem::Entrypoint)),
            ("/app/", false, Some(Problem::Entrypoint)),
            ("/app//server", false, Some(Problem::Entrypoint)),
            ("/app/../server", false, Some(Problem::Entrypoint)),
            ("/app/a b", false, Some(Problem::Entrypoint)),
        ] {
            assert_eq!(entrypoint(text, own_directory).err(), expected, "{text:?}");
        }
        for (text, valid) in [
            (".", true),
            ("cmd/server", true),
            ("/cmd", false),
            ("../cmd", false),
            ("-o", false),
            ("cmd server", false),
            ("cmd\nserver", false),
        ] {
            assert_eq!(package(text).err(), (!valid).then_some(Problem::Package), "{text:?}");
        }
    }

    #[test]
    fn words_and_text() {
        for (text, expected) in [
            ("ghcr.io/example/notes", None),
            ("", Some(Problem::Missing)),
            ("-oProxyCommand=x", Some(Problem::PlainWord)),
            ("v1\nBUILDER=x", Some(Problem::PlainWord)),
            ("v1 v2", Some(Problem::PlainWord)),
        ] {
            assert_eq!(plain_word(text).err(), expected, "{text:?}");
        }
        assert_eq!(line("Notes für alle", 64), Ok(()));
        assert_eq!(line("a\nb", 64), Err(Problem::Text { max_bytes: 64 }));
        assert_eq!(paragraph("a\nb", 64), Ok(()));
        assert_eq!(paragraph("a\u{1b}[31m", 64), Err(Problem::Text { max_bytes: 64 }));
        assert_eq!(line("aaa", 2), Err(Problem::Text { max_bytes: 2 }));
        assert_eq!(scope("https://www.googleapis.com/auth/gmail.readonly"), Ok(()));
        assert_eq!(scope("a b"), Err(Problem::PlainWord));
        assert_eq!(slug("acme"), Ok(()));
        assert_eq!(slug("Acme"), Err(Problem::Slug));
    }
}
