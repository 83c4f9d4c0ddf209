//! What of a provider's ID token is believed: OpenID Connect Core 1.0, section 3.1.3.7.
//!
//! `openidconnect` checks issuer, audience, signature, algorithm, expiry and nonce. What it leaves to its users is added here: the
//! authorized party, tokens of the future, the hash of the access token, and the form of the subject.

use std::sync::Arc;

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use openidconnect::{
    AccessToken, AccessTokenHash, ClaimsVerificationError, ClientId, IssuerUrl, Nonce, SignatureVerificationError,
    core::{CoreIdToken, CoreIdTokenVerifier, CoreJwsSigningAlgorithm},
};

use super::{
    Claims, Identity, Oidc, OidcError,
    provider::{Known, ProviderError},
    tokens::told,
};
use crate::{store::now_seconds, token};

/// What a token must fit.
pub(super) struct Expected<'a> {
    /// None where the provider was not told any.
    pub(super) nonce: Option<String>,
    pub(super) access_token: Option<&'a AccessToken>,
}

impl Oidc {
    /// Of whom a token is, and what it says. If its key is not known, the keys are asked for again, once.
    pub(super) async fn id_token(
        &self,
        known: Arc<Known>,
        token: &CoreIdToken,
        expected: Expected<'_>,
    ) -> Result<(Identity, Claims), OidcError> {
        match self.check(&known, token, &expected) {
            Err(Unbelieved::Key(why)) => {
                let renewed = match self.provider.renew_keys(&known).await {
                    Err(ProviderError::TooSoon) => return Err(OidcError::token("unknown-key", why)),
                    renewed => renewed?,
                };
                self.check(&renewed, token, &expected)
            }
            checked => checked,
        }
        .map_err(|unbelieved| match unbelieved {
            Unbelieved::Key(why) => OidcError::token("unknown-key", why),
            Unbelieved::Token(cause, why) => OidcError::token(cause, why),
        })
    }

    fn check(
        &self,
        known: &Known,
        token: &CoreIdToken,
        expected: &Expected<'_>,
    ) -> Result<(Identity, Claims), Unbelieved> {
        let client_id = &self.config.client_id;
        let issuer = self.config.issuer.as_str();
        let issuer_url = IssuerUrl::new(issuer.to_owned()).map_err(|error| unbelieved("issuer", error))?;
        let now = now_seconds();
        let verifier =
            CoreIdTokenVerifier::new_public_client(ClientId::new(client_id.clone()), issuer_url, known.keys.clone())
                .set_allowed_algs(ALGORITHMS)
                // Others may be named beside us, if we are the one it was made for: see the authorized party below.
                .set_other_audience_verifier_fn(|_| true)
                .set_issue_time_verifier_fn(move |issued_at| {
                    match issued_at.timestamp() <= now.saturating_add(CLOCKS) {
                        true => Ok(()),
                        false => Err(FUTURE.to_owned()),
                    }
                });
        let claims = match &expected.nonce {
            Some(nonce) => token.claims(&verifier, &Nonce::new(nonce.clone())),
            None => token.claims(&verifier, |_: Option<&Nonce>| Ok(())),
        };
        let claims = claims.map_err(of_library)?;
        match claims.authorized_party() {
            Some(party) if token::same(party, client_id) => {}
            None if claims.audiences().len() == 1 => {}
            _ => return Err(unbelieved("authorized-party", "it was made for another client")),
        }
        if let (Some(hash), Some(access_token)) = (claims.access_token_hash(), expected.access_token) {
            let key = token.signing_key(&verifier).map_err(|error| unbelieved("signature", error))?;
            let algorithm = token.signing_alg().map_err(|error| unbelieved("signature", error))?;
            let found = AccessTokenHash::from_token(access_token, algorithm, key);
            if found.map_err(|error| unbelieved("access-token-hash", error))? != *hash {
                return Err(unbelieved("access-token-hash", "the access token is not the one it came with"));
            }
        }
        let subject = subject(claims.subject()).ok_or_else(|| unbelieved("subject", "it is no subject"))?;
        let payload = payload(&token.to_string()).ok_or_else(|| unbelieved("form", "its claims are no object"))?;
        Ok((Identity { issuer: issuer.to_owned(), subject }, payload))
    }
}

/// Why a token is not believed.
enum Unbelieved {
    /// It may be signed with a key that the provider has since it was asked.
    Key(String),
    Token(&'static str, String),
}

/// What is told of a token may quote it, so it is cut to what can stand in a log.
fn unbelieved(cause: &'static str, why: impl ToString) -> Unbelieved {
    Unbelieved::Token(cause, told(&why.to_string()))
}

fn of_library(error: ClaimsVerificationError) -> Unbelieved {
    use {ClaimsVerificationError as Claim, SignatureVerificationError as Signature};
    let cause = match &error {
        Claim::SignatureVerification(Signature::NoMatchingKey) => return Unbelieved::Key(told(&error.to_string())),
        Claim::SignatureVerification(
            Signature::DisallowedAlg(_) | Signature::UnsupportedAlg(_) | Signature::NoSignature,
        ) => "algorithm",
        Claim::SignatureVerification(_) => "signature",
        Claim::Expired(why) if why == FUTURE => "future",
        Claim::Expired(_) => "expired",
        Claim::InvalidAudience(_) => "audience",
        Claim::InvalidIssuer(_) => "issuer",
        Claim::InvalidNonce(_) => "nonce",
        _ => "token",
    };
    unbelieved(
        cause,
        match &error {
            // It tells what was found and what was expected.
            Claim::InvalidNonce(_) => "the nonce is not that of this sign-in".to_owned(),
            Claim::SignatureVerification(source) => source.to_string(),
            _ => error.to_string(),
        },
    )
}

/// OpenID Connect Core 1.0, section 2: at most 255 ASCII characters. None of them is a control, so that it can be told.
pub(super) fn subject(text: &str) -> Option<String> {
    let valid = !text.is_empty() && text.len() <= 255 && text.bytes().all(|byte| (b' '..=b'~').contains(&byte));
    valid.then(|| text.to_owned())
}

/// What stands between the dots of a token that was verified.
pub(super) fn payload(token: &str) -> Option<Claims> {
    let part = token.split('.').nth(1)?;
    serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).ok()?).ok()
}

/// Those with a public key. With the others, whoever knows our secret, or a key that all may know, could sign.
pub(super) const ALGORITHMS: [CoreJwsSigningAlgorithm; 9] = [
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha256,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha384,
    CoreJwsSigningAlgorithm::RsaSsaPkcs1V15Sha512,
    CoreJwsSigningAlgorithm::RsaSsaPssSha256,
    CoreJwsSigningAlgorithm::RsaSsaPssSha384,
    CoreJwsSigningAlgorithm::RsaSsaPssSha512,
    CoreJwsSigningAlgorithm::EcdsaP256Sha256,
    CoreJwsSigningAlgorithm::EcdsaP384Sha384,
    CoreJwsSigningAlgorithm::EdDsa,
];
/// How far the clocks of two machines may be apart, in seconds.
pub(super) const CLOCKS: i64 = 60;
const FUTURE: &str = "it was issued in the future";
