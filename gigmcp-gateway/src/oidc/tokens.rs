//! Where browsers are sent, and what becomes of the code they bring back.

use std::time::Duration;

use http::{Request, Response};
use openidconnect::{
    AccessToken, AuthType, AuthUrl, AuthorizationCode, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    IssuerUrl, Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken,
    RequestTokenError, Scope, StandardErrorResponse, TokenUrl,
    core::{CoreAuthPrompt, CoreAuthenticationFlow, CoreClient, CoreErrorResponseType, CoreTokenResponse},
};
use serde_json::Value;
use zeroize::Zeroizing;

use super::{
    Answer, Claims, Flow, Grant, Identity, Oidc, OidcError, Proven, Purpose,
    admission::tells_of_address,
    http::HttpError,
    provider::{Known, ProviderError},
    verify::{CLOCKS, Expected},
};
use crate::{people::Email, store::now_seconds};

type Client = CoreClient<EndpointSet, EndpointNotSet, EndpointNotSet, EndpointNotSet, EndpointSet>;
type TokenError = RequestTokenError<HttpError, StandardErrorResponse<CoreErrorResponseType>>;

/// What a refresh ended with.
pub(crate) enum Refreshed {
    /// The provider stands by it.
    Proven(Box<Proven>),
    /// It gave this, and could then not be asked for more.
    Unsure(Grant, OidcError),
    /// The provider says that it does not any more.
    Refused(OidcError),
    /// What it says is not believed, so nothing holds that depended on it.
    Ended(OidcError),
}

impl Oidc {
    /// Where the browser is sent.
    pub(crate) fn authorization_url(&self, flow: &Flow) -> Result<String, OidcError> {
        let client = self.client(&*self.provider.known()?)?;
        let (state, nonce) = (flow.state(), flow.nonce());
        let challenge = PkceCodeChallenge::from_code_verifier_sha256(&PkceCodeVerifier::new(flow.verifier()));
        let mut request = client
            .authorize_url(
                CoreAuthenticationFlow::AuthorizationCode,
                move || CsrfToken::new(state),
                move || Nonce::new(nonce),
            )
            .set_pkce_challenge(challenge);
        let proves = flow.purpose() == Purpose::Confirm;
        // What is proven once needs no refresh token.
        let scopes = || self.config.scopes.iter().filter(|scope| !proves || *scope != OFFLINE);
        for scope in scopes().filter(|scope| *scope != "openid") {
            request = request.add_scope(Scope::new(scope.clone()));
        }
        if proves {
            // OpenID Connect Core 1.0, section 3.1.2.1: with `max_age`, the token must say when it asked.
            request = request.add_prompt(CoreAuthPrompt::Login).set_max_age(Duration::ZERO);
        }
        if scopes().any(|scope| scope == OFFLINE) {
            // OpenID Connect Core 1.0, section 11: without, providers may leave it out.
            request = request.add_prompt(CoreAuthPrompt::Consent);
        }
        Ok(request.url().0.into())
    }

    /// Who came back. The state was compared already; nothing else of the answer was believed.
    pub(crate) async fn redeem(&self, flow: &Flow, answer: Answer) -> Result<Proven, OidcError> {
        let known = self.provider.known()?;
        match &answer.issuer {
            // RFC 9207: an answer of another provider is not brought to this one.
            Some(issuer) if issuer != self.config.issuer.as_str() => return Err(OidcError::Flow("issuer-of-answer")),
            None if known.metadata.authorization_response_iss_parameter_supported => {
                return Err(OidcError::Flow("issuer-of-answer"));
            }
            _ => {}
        }
        if let Some(error) = answer.error {
            return Err(OidcError::Denied { error: told(&error) });
        }
        let code = answer.code.ok_or(OidcError::Flow("no-code"))?;
        let _place = self.places.try_acquire().map_err(|_| OidcError::Busy)?;
        let client = self.client(&known)?;
        let exchange = client
            .exchange_code(AuthorizationCode::new(code))
            .set_pkce_verifier(PkceCodeVerifier::new(flow.verifier()));
        let response = exchange.request_async(&self.asking()).await.map_err(exchange_error)?;
        let token =
            response.extra_fields().id_token().ok_or_else(|| OidcError::token("no-id-token", "there is none"))?;
        let expected = Expected { nonce: Some(flow.nonce()), access_token: Some(response.access_token()) };
        let (identity, claims) = self.id_token(known, token, expected).await?;
        if flow.purpose() == Purpose::Confirm {
            asked_since(flow.began_at(), &claims)?;
        }
        self.proven(identity, claims, Zeroizing::new(token.to_string()), &response, None).await
    }

    /// Asks the provider whether it still stands by a session. What cannot be asked is an error.
    pub(crate) async fn refresh(&self, identity: &Identity, grant: &Grant) -> Result<Refreshed, OidcError> {
        let Some(refresh_token) = &grant.refresh_token else { return Err(OidcError::Flow("no-refresh-token")) };
        let known = self.provider.known()?;
        let _place = self.places.acquire().await.map_err(|_| OidcError::Busy)?;
        let client = self.client(&known)?;
        let token = RefreshToken::new((**refresh_token).clone());
        let response = match client.exchange_refresh_token(&token).request_async(&self.asking()).await {
            Ok(response) => response,
            Err(RequestTokenError::ServerResponse(refused))
                if *refused.error() == CoreErrorResponseType::InvalidGrant =>
            {
                return Ok(Refreshed::Refused(OidcError::Exchange { error: "invalid_grant".to_owned() }));
            }
            Err(error) => return Err(exchange_error(error)),
        };
        let refreshed = self.refreshed(known, identity, grant, &response).await;
        Ok(match refreshed {
            Ok(proven) => Refreshed::Proven(Box::new(proven)),
            // A refresh token is often good once, so the new one must not be lost.
            Err(error @ OidcError::Provider(_)) => {
                let renewed = response.refresh_token().unwrap_or(&token).secret().clone();
                let kept = Grant { id_token: grant.id_token.clone(), refresh_token: Some(Zeroizing::new(renewed)) };
                Refreshed::Unsure(kept, error)
            }
            Err(error) => Refreshed::Ended(error),
        })
    }

    /// OpenID Connect Core 1.0, section 12.2.
    async fn refreshed(
        &self,
        known: std::sync::Arc<Known>,
        identity: &Identity,
        grant: &Grant,
        response: &CoreTokenResponse,
    ) -> Result<Proven, OidcError> {
        let (claims, id_token) = match response.extra_fields().id_token() {
            Some(token) => {
                let expected = Expected { nonce: None, access_token: Some(response.access_token()) };
                let (found, claims) = self.id_token(known, token, expected).await?;
                if found != *identity {
                    return Err(OidcError::token("subject", "the refreshed token is somebody else's"));
                }
                (claims, Zeroizing::new(token.to_string()))
            }
            // What was said when they signed in is not said again, but for what the userinfo endpoint says.
            None => (Claims::new(), grant.id_token.clone()),
        };
        self.proven(identity.clone(), claims, id_token, response, grant.refresh_token.clone()).await
    }

    /// Adds what the userinfo endpoint says, which some providers say nowhere else. What the token says counts first: it is signed.
    /// Whether an address is verified is believed only of the document that names the address.
    async fn proven(
        &self,
        identity: Identity,
        mut claims: Claims,
        id_token: Zeroizing<String>,
        response: &CoreTokenResponse,
        refresh_token: Option<Zeroizing<String>>,
    ) -> Result<Proven, OidcError> {
        let userinfo = self.userinfo(&identity, response.access_token()).await?;
        // An ID token always says something: it comes with each sign-in, and with a refresh only if the provider likes.
        let unsigned = claims.is_empty();
        let email = verified_email(if tells_of_address(&claims) { &claims } else { &userinfo });
        for (name, value) in userinfo {
            claims.entry(name).or_insert(value);
        }
        let admitted = self.config.admission.judge(&claims, email.as_ref());
        if let Err(why) = admitted
            && unsigned
            && !self.config.admission.speaks_of(why, &claims)
        {
            // Silence refuses nobody, and lets nobody in.
            return Err(why.into());
        }
        let renewed = response.refresh_token().map(|token| Zeroizing::new(token.secret().clone()));
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        Ok(Proven {
            admitted,
            email,
            name: text("name").or_else(|| text("preferred_username")).map(told).filter(|name| !name.is_empty()),
            sid: text("sid").filter(|sid| sid.len() <= MAX_SID).map(ToOwned::to_owned),
            grant: Grant { id_token, refresh_token: renewed.or(refresh_token) },
            identity,
        })
    }

    async fn userinfo(&self, identity: &Identity, token: &AccessToken) -> Result<Claims, OidcError> {
        let known = self.provider.known()?;
        let Some(url) = &known.metadata.userinfo_endpoint else { return Ok(Claims::new()) };
        let secret = token.secret();
        if !secret.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(OidcError::Endpoint { why: "the access token is none".to_owned() });
        }
        let claims: Claims = self.provider.read(url, Some(secret)).await?;
        // OpenID Connect Core 1.0, section 5.3.2.
        match claims.get("sub").and_then(Value::as_str) == Some(&identity.subject) {
            true => Ok(claims),
            false => Err(OidcError::token("userinfo-subject", "the userinfo endpoint told of somebody else")),
        }
    }

    fn client(&self, known: &Known) -> Result<Client, OidcError> {
        let endpoint = |url: &str| OidcError::Endpoint { why: format!("{url} is no address") };
        let (authorize, token) = (&known.metadata.authorization_endpoint, &known.metadata.token_endpoint);
        let issuer = self.config.issuer.as_str();
        let issuer = IssuerUrl::new(issuer.to_owned()).map_err(|_| endpoint(issuer))?;
        let redirect = self.config.redirect_url();
        let client = CoreClient::new(ClientId::new(self.config.client_id.clone()), issuer, known.keys.clone())
            .set_auth_uri(AuthUrl::new(authorize.clone()).map_err(|_| endpoint(authorize))?)
            .set_token_uri(TokenUrl::new(token.clone()).map_err(|_| endpoint(token))?)
            .set_redirect_uri(RedirectUrl::new(redirect.clone()).map_err(|_| endpoint(&redirect))?);
        let Some(secret) = &self.config.client_secret else { return Ok(client) };
        let methods = &known.metadata.token_endpoint_auth_methods_supported;
        let has = |method: &str| methods.iter().any(|one| one == method);
        let by_body = has("client_secret_post") && !has("client_secret_basic");
        let client = client.set_client_secret(ClientSecret::new((**secret).clone()));
        Ok(if by_body { client.set_auth_type(AuthType::RequestBody) } else { client })
    }

    /// Asks with our own client, which follows no redirects.
    fn asking(&self) -> impl Fn(Request<Vec<u8>>) -> Asking + use<> {
        let http = self.provider.http.clone();
        move |request| {
            let http = http.clone();
            Box::pin(async move { http.ask(request).await })
        }
    }
}

/// Whether the provider has asked who it is since the browser was sent there. One that does not say when has not.
fn asked_since(began_at: i64, claims: &Claims) -> Result<(), OidcError> {
    let asked_at = claims.get("auth_time").and_then(Value::as_i64);
    let asked_at = asked_at.ok_or_else(|| OidcError::token("no-auth-time", "it does not say when it asked"))?;
    match (began_at.saturating_sub(CLOCKS)..=now_seconds().saturating_add(CLOCKS)).contains(&asked_at) {
        true => Ok(()),
        false => Err(OidcError::token("auth-time", "it asked who it is before, and not now")),
    }
}

/// The address in it that it says is verified.
fn verified_email(claims: &Claims) -> Option<Email> {
    let verified = match claims.get("email_verified")? {
        Value::Bool(verified) => *verified,
        verified => verified == "true",
    };
    claims.get("email").and_then(Value::as_str).filter(|_| verified).and_then(|email| email.parse().ok())
}

type Asking = std::pin::Pin<Box<dyn Future<Output = Result<Response<Vec<u8>>, HttpError>> + Send>>;

fn exchange_error(error: TokenError) -> OidcError {
    match error {
        RequestTokenError::ServerResponse(refused) => OidcError::Exchange { error: told(refused.error().as_ref()) },
        RequestTokenError::Request(error) => OidcError::Provider(ProviderError::Http(error)),
        RequestTokenError::Parse(error, _) => OidcError::Endpoint { why: told(&error.to_string()) },
        RequestTokenError::Other(why) => OidcError::Endpoint { why: told(&why) },
    }
}

/// What others say, so that it can stand in a log: short, and without what steers a terminal.
pub(super) fn told(text: &str) -> String {
    text.trim().chars().filter(|character| !character.is_control()).take(MAX_TOLD).collect()
}

/// The scope by which a provider gives a refresh token.
const OFFLINE: &str = "offline_access";
const MAX_TOLD: usize = 200;
/// Providers name their sessions with a few dozen characters.
const MAX_SID: usize = 255;
