//! Looks for pieces of keys in all memory of another process that can be read.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::os::unix::fs::FileExt;

/// How often a piece of each was found.
pub(super) type Found = BTreeMap<&'static str, usize>;

/// Pieces of 8 bytes, which is what a register holds, or 16 hex digits: nobody writes one of them by chance.
pub(super) struct Wanted {
    /// By their first bytes.
    pieces: HashMap<[u8; SHORT], Vec<(&'static str, Vec<u8>)>>,
    /// Which two bytes a piece begins with, because a debug build takes long to look all up.
    beginnings: Box<[bool; 1 << 16]>,
}

impl Wanted {
    pub(super) fn new() -> Self {
        Self { pieces: HashMap::new(), beginnings: Box::new([false; 1 << 16]) }
    }

    /// These bytes from any place on, and as the words that ciphers and hashes read them into.
    pub(super) fn bytes(&mut self, name: &'static str, bytes: &[u8]) {
        self.pieces(name, bytes, SHORT);
    }

    /// The same of text.
    pub(super) fn hex(&mut self, name: &'static str, digits: &str) {
        self.pieces(name, digits.as_bytes(), LONG);
    }

    /// Both, as a key stands in a key file.
    pub(super) fn key(&mut self, name: &'static str, key: &[u8]) {
        self.bytes(name, key);
        self.hex(name, &hex::encode(key));
    }

    /// What XChaCha20 makes of a key and a nonce, which is as good as the key for this one nonce.
    pub(super) fn subkey(&mut self, name: &'static str, key: &[u8; 32], nonce: &[u8; 24]) {
        let nonce = <[u8; 16]>::try_from(&nonce[..16]).expect("of this length");
        self.bytes(name, &chacha20::hchacha::<chacha20::R20>(&(*key).into(), &nonce.into()));
    }

    fn pieces(&mut self, name: &'static str, bytes: &[u8], length: usize) {
        for piece in bytes.windows(length) {
            self.piece(name, piece.to_vec());
        }
        for word in [4, 8] {
            for piece in bytes.chunks_exact(length) {
                self.piece(name, piece.chunks_exact(word).flat_map(|word| word.iter().rev()).copied().collect());
            }
        }
    }

    fn piece(&mut self, name: &'static str, piece: Vec<u8>) {
        self.beginnings[beginning(&piece)] = true;
        self.pieces.entry(*piece.first_chunk().expect("long enough")).or_default().push((name, piece));
    }

    pub(super) fn search(&self, process: u32) -> Found {
        let mut found = Found::new();
        let memory = File::open(format!("/proc/{process}/mem")).expect("readable");
        let (mut window, mut read) = (vec![0_u8; WINDOW], 0);
        for line in fs::read_to_string(format!("/proc/{process}/maps")).expect("readable").lines() {
            let mut words = line.split_whitespace();
            let (range, rights) = (words.next().expect("a range"), words.next().expect("rights"));
            let (from, to) = range.split_once('-').expect("two addresses");
            let number = |hex| u64::from_str_radix(hex, 16).expect("an address");
            let (mut from, to) = (number(from), number(to));
            while rights.starts_with('r') && from < to {
                let length = usize::try_from(to - from).map_or(WINDOW, |left| left.min(WINDOW));
                if memory.read_exact_at(&mut window[..length], from).is_ok() {
                    read += length;
                    self.search_in(&window[..length], &mut found);
                }
                // Windows overlap, so that what stands on their border is not missed.
                let is_last = from + length as u64 == to;
                from += length as u64 - if is_last { 0 } else { LONG as u64 };
            }
        }
        assert!(read > 1 << 20, "only {read} bytes could be read");
        found
    }

    fn search_in(&self, bytes: &[u8], found: &mut Found) {
        for (at, start) in bytes.windows(SHORT).enumerate() {
            if self.beginnings[beginning(start)]
                && let Some(pieces) = self.pieces.get(start)
            {
                for (name, _) in pieces.iter().filter(|(_, piece)| bytes[at..].starts_with(piece)) {
                    *found.entry(name).or_default() += 1;
                }
            }
        }
    }
}

fn beginning(piece: &[u8]) -> usize {
    usize::from(piece[0]) | usize::from(piece[1]) << 8
}

const SHORT: usize = 8;
const LONG: usize = 16;
const WINDOW: usize = 1 << 20;
