//! Tokens of progress that only we can make.

use sha2::{Digest, Sha256};

/// Makes the tokens under which a server reports progress of our calls. A client that has seen its own, because its server
/// shows what it gets, can make none of another's call.
#[derive(Debug)]
pub(super) struct Tokens([u8; 32]);

impl Tokens {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        getrandom::fill(&mut key).expect("the kernel gives random numbers");
        Self(key)
    }

    /// The token of a call: 16 hexadecimal digits that follow from its id and the key, and the id.
    pub(super) fn of_call(&self, id: u64) -> String {
        let digest = Sha256::new().chain_update(self.0).chain_update(id.to_be_bytes()).finalize();
        let digest = u64::from_be_bytes(*digest.first_chunk().expect("it is longer"));
        format!("{digest:016x}-{id}")
    }

    /// The call that a token is of.
    pub(super) fn call_of(&self, token: &str) -> Option<u64> {
        let id = token.split_once('-')?.1.parse().ok()?;
        (self.of_call(id) == token).then_some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_of_one_call_and_one_key() {
        let tokens = Tokens::new();
        let token = tokens.of_call(7);
        assert_eq!(tokens.call_of(&token), Some(7));
        for other in
            [token.replace("-7", "-8"), token.replace("-7", "-07"), format!("{token} "), "-7".into(), "7".into()]
        {
            assert_eq!(tokens.call_of(&other), None, "{other}");
        }
        assert_eq!(Tokens::new().call_of(&token), None);
    }
}
