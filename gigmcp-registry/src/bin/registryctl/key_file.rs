//! Signing keys: made, kept in files that nobody else can read, and never shown.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use gigmcp_registry::{PublicKey, SigningKey};
use rustix::fs::OFlags;
use serde_json::json;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::output::Output;

#[derive(Args)]
pub(crate) struct Keygen {
    /// The file to make; one that is there is left alone
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
}

impl Keygen {
    pub(crate) fn run(&self, output: &Output) -> Result<ExitCode, Failure> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed)
            .map_err(|source| Failure::file("the system has no random numbers").because(source))?;
        let public = SigningKey::from_seed(&seed).public_key();
        create(&self.output, &text(&seed, &public))?;
        let file = self.output.display().to_string();
        output.print(
            &json!({ "file": file, "publicKey": public.to_string(), "keyId": public.id().to_string() }),
            &[format!("public key: {public}"), format!("key id: {}", public.id()), format!("signing key in {file}")],
        )
    }
}

/// Reads the key from a file, or from standard input if the path is `-`.
pub(crate) fn read(path: &Path) -> Result<SigningKey, Failure> {
    let text = read_secret(path)?;
    parse(&text).ok_or_else(|| {
        Failure::file(format!("{} holds no signing key, or a damaged one", path.display()))
            .advice("make one with `registryctl keygen`, or restore the file")
    })
}

/// What nobody else may read: at most [`MAX_SECRET_BYTES`] of it.
pub(crate) fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut text = Zeroizing::new(Vec::with_capacity(MAX_SECRET_BYTES + 1));
    let unreadable = |source| Failure::file(format!("the key in {} cannot be read", path.display())).because(source);
    if path == Path::new("-") {
        io::stdin().lock().take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    } else {
        // Without NONBLOCK, opening a FIFO would hang before it could be seen to be one.
        let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file =
            OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path).map_err(unreadable)?;
        check(path, &file)?;
        file.take(MAX_SECRET_BYTES as u64 + 1).read_to_end(&mut text).map_err(unreadable)?;
    }
    if text.len() > MAX_SECRET_BYTES {
        return Err(Failure::file(format!("{} holds more than a key or password", path.display())));
    }
    Ok(text)
}

fn check(path: &Path, file: &File) -> Result<(), Failure> {
    let name = path.display();
    let found =
        file.metadata().map_err(|source| Failure::file(format!("{name} cannot be examined")).because(source))?;
    if !found.is_file() {
        return Err(Failure::file(format!("the key {name} is not a regular file")));
    }
    let user = rustix::process::geteuid().as_raw();
    if found.uid() != user && found.uid() != 0 {
        return Err(Failure::file(format!("the key {name} belongs to user {}, not to you", found.uid()))
            .advice("copy it to a file of your own"));
    }
    if found.mode() & 0o077 != 0 {
        return Err(Failure::file(format!(
            "the key {name} can be used by others, its mode is {:o}",
            found.mode() & 0o7777
        ))
        .advice(format!("chmod 600 {name}, and think about who may have read it")));
    }
    Ok(())
}

fn create(path: &Path, text: &str) -> Result<(), Failure> {
    let opened = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::CLOEXEC).bits().cast_signed())
        .open(path);
    let mut file = opened.map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => Failure::file(format!("{} is there already", path.display()))
            .advice("choose another name: a signing key is never written over"),
        _ => Failure::file(format!("{} cannot be made", path.display())).because(source),
    })?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    written.map_err(|source| {
        // Half a key is none; the error that led here is the one to report.
        drop(std::fs::remove_file(path));
        Failure::file(format!("{} cannot be written", path.display())).because(source)
    })
}

fn text(seed: &[u8; 32], public: &PublicKey) -> Zeroizing<String> {
    // Reserved in full: a String that grows leaves copies behind.
    let mut text = Zeroizing::new(String::with_capacity(MAX_BYTES));
    text.push_str(HEADER);
    text.push_str(&format!("public {public}\nseed "));
    let mut digits = Zeroizing::new([0; 64]);
    hex::encode_to_slice(seed, &mut *digits).expect("twice as long");
    text.push_str(str::from_utf8(&*digits).expect("hex is text"));
    text.push('\n');
    text
}

fn parse(text: &[u8]) -> Option<SigningKey> {
    let rest = str::from_utf8(text).ok()?.strip_prefix(HEADER)?.strip_prefix("public ")?;
    let (public, rest) = rest.split_once("\nseed ")?;
    let digits = rest.strip_suffix('\n')?;
    let mut seed = Zeroizing::new([0; 32]);
    let lower = !digits.bytes().any(|byte| byte.is_ascii_uppercase());
    hex::decode_to_slice(digits, &mut *seed).ok().filter(|()| lower)?;
    let key = SigningKey::from_seed(&seed);
    (key.public_key().to_string() == public).then_some(key)
}

const HEADER: &str = "gigmcp-registry-key 1\n";

/// A key file has 166.
const MAX_BYTES: usize = 256;

/// A token of a registry can be longer than a key.
const MAX_SECRET_BYTES: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_file_has_one_form() {
        let seed = [7; 32];
        let public = SigningKey::from_seed(&seed).public_key();
        let good = text(&seed, &public);
        let parsed = |text: &str| parse(text.as_bytes()).map(|key| key.public_key());
        assert_eq!(parsed(&good), Some(public));
        for (case, changed) in [
            ("no newline", good.trim_end().into()),
            ("two newlines", format!("{}\n", *good)),
            ("another header", good.replace("key 1", "key 2")),
            (
                "another public key",
                good.replace(&public.to_string(), &SigningKey::from_seed(&[8; 32]).public_key().to_string()),
            ),
            ("a damaged seed", good.replace("seed 0707", "seed 0708")),
            ("a short seed", good.replace("seed 0707", "seed 07")),
            (
                "an upper-case seed",
                text(&[0xab; 32], &SigningKey::from_seed(&[0xab; 32]).public_key()).replace("seed ab", "seed AB"),
            ),
            ("nothing", String::new()),
        ] {
            assert_eq!(parsed(&changed), None, "{case}");
        }
    }
}
