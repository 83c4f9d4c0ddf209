//! From checked arguments to a request.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use gigmcp_registry::{BasicPart, Encoding, Inject, Param, ParamPlace};
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, Uri,
    header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, USER_AGENT},
};
use serde_json::{Map, Value};
use zeroize::Zeroizing;

use super::{
    arguments::{ArgumentFault, ArgumentProblem},
    credential::{Held, Secret},
    encode::{Fields, JsonBody, Multipart, header_value, hole, percent_encoded},
    plan::{Fixed, ToolPlan, wire_name},
};

/// A request without its credentials, which differ from page to page.
pub(super) struct Draft<'p> {
    plan: &'p ToolPlan,
    path: String,
    query: Fields,
    headers: HeaderMap,
    body: Body,
}

/// Which page is asked for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Ask {
    /// The first one.
    First,
    /// The one that this query parameter names.
    Param {
        /// The parameter.
        name: String,
        /// Its value.
        value: String,
    },
    /// The one at this path and query of the same host.
    Target(Target),
}

/// A path and a query of the same host, in the one spelling that all readers understand alike.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Target {
    pub(super) path: String,
    pub(super) query: String,
}

#[derive(Clone)]
enum Body {
    None,
    Json(JsonBody),
    Form(Fields),
    Multipart(Multipart),
}

impl<'p> Draft<'p> {
    /// Puts constants and arguments in their places.
    ///
    /// # Errors
    /// Every argument that cannot stand in its place.
    pub(super) fn new(plan: &'p ToolPlan, arguments: &Map<String, Value>) -> Result<Self, Vec<ArgumentFault>> {
        let mut draft = Self {
            plan,
            path: String::new(),
            query: Fields::default(),
            headers: HeaderMap::new(),
            body: Body::of(plan),
        };
        let mut holes: Vec<(&str, String)> = Vec::new();
        let mut faults = Vec::new();
        for Fixed { name, place, value } in &plan.constants {
            let added = draft.add(name, *place, value, None, &mut holes);
            faults.extend(added.err().map(|problem| ArgumentFault { argument: name.clone(), problem }));
        }
        for param in &plan.tool.params {
            let Some(value) = arguments.get(&param.name) else { continue };
            let added = draft.add(wire_name(param), param.place, value, Some(param), &mut holes);
            faults.extend(added.err().map(|problem| ArgumentFault { argument: param.name.clone(), problem }));
        }
        if faults.is_empty() {
            let filled = plan.tool.path.fill(|name| Some(holes.iter().find(|(hole, _)| *hole == name)?.1.as_str()));
            match filled.ok().filter(|path| plan.segments.agree_with(path)) {
                Some(path) => draft.path = path,
                None => faults.extend(path_params(plan)),
            }
        }
        if faults.is_empty() && draft.path.len() + draft.query.to_string().len() > MAX_TARGET_BYTES {
            let problem = ArgumentProblem::TooLong { limit_bytes: MAX_TARGET_BYTES };
            faults.push(ArgumentFault { argument: "path and query".into(), problem });
        }
        if faults.is_empty() { Ok(draft) } else { Err(faults) }
    }

    /// The request for a page, with credentials.
    ///
    /// # Errors
    /// A credential that is not there, or has no place in this request.
    pub(super) fn request(&self, ask: &Ask) -> Result<Request<Bytes>, RenderError> {
        let mut whole = Whole {
            path: self.path.clone(),
            query: self.query.clone(),
            headers: self.headers.clone(),
            body: self.body.clone(),
        };
        match ask {
            Ask::First => {}
            Ask::Param { name, value } => whole.query.replace(name, value),
            Ask::Target(target) => {
                whole.path.clone_from(&target.path);
                whole.query = Fields::of_query(&target.query);
            }
        }
        whole.put_credentials(self.plan, matches!(ask, Ask::Target(_)))?;
        whole.into_request(self.plan)
    }

    fn add<'n>(
        &mut self,
        name: &'n str,
        place: ParamPlace,
        value: &Value,
        param: Option<&Param>,
        holes: &mut Vec<(&'n str, String)>,
    ) -> Result<(), ArgumentProblem> {
        let style = param.and_then(|param| param.style);
        match place {
            ParamPlace::Path => holes.push((name, hole(value)?)),
            ParamPlace::Query => self.query.add(name, value, style)?,
            ParamPlace::Header => {
                let header = HeaderName::try_from(name).map_err(|_| ArgumentProblem::HeaderValue)?;
                self.headers.insert(header, header_value(value)?);
            }
            _ => match &mut self.body {
                Body::None => {}
                // That no two stand in one place was checked before the first call.
                Body::Json(body) => drop(body.add(name, value.clone())),
                Body::Form(fields) => fields.add(name, value, style)?,
                Body::Multipart(parts) => parts.add(name, value, style, param.and_then(|param| param.part.as_ref()))?,
            },
        }
        Ok(())
    }
}

impl Body {
    /// None where the toolspec puts nothing into it.
    fn of(plan: &ToolPlan) -> Self {
        let used = plan.tool.params.iter().any(|param| param.place == ParamPlace::Body)
            || plan.constants.iter().any(|fixed| fixed.place == ParamPlace::Body)
            || plan.uses.iter().any(|used| matches!(used.held.place, Inject::Form(_) | Inject::Json(_)));
        match plan.tool.encoding {
            _ if !used || !plan.has_body() => Self::None,
            Encoding::Form => Self::Form(Fields::default()),
            Encoding::Multipart => Self::Multipart(Multipart::new()),
            _ => Self::Json(JsonBody::default()),
        }
    }
}

/// All that a request is, with its credentials.
struct Whole {
    path: String,
    query: Fields,
    headers: HeaderMap,
    body: Body,
}

impl Whole {
    fn put_credentials(&mut self, plan: &ToolPlan, is_link: bool) -> Result<(), RenderError> {
        // Those in the path first: for the proxy, the path with them is the path.
        for used in &plan.uses {
            if let Inject::Path { prefix } = &used.held.place {
                let first = format!("/{prefix}{}", segment(secret(&used.held)?));
                // A link of the service has it already, in the spelling that it was sent in.
                let has_it = is_link && self.path.strip_prefix(&first).is_some_and(|rest| rest.starts_with('/'));
                let path = format!("{first}{}", self.path);
                if !has_it && used.is_for(&path) {
                    self.path = path;
                }
            }
        }
        let mut basic = Basic { user: None, password: None };
        let path = self.path.clone();
        for used in plan.uses.iter().filter(|used| used.is_for(&path)) {
            let (id, secret) = (&used.held.id, || secret(&used.held));
            match &used.held.place {
                Inject::Path { .. } => {}
                Inject::Header { name, format } => self.put_header(name, format, secret()?)?,
                Inject::Basic(BasicPart::User) => basic.user = Some(secret()?.expose()),
                Inject::Basic(_) => basic.password = Some(secret()?.expose()),
                Inject::Query(name) => {
                    self.query.remove(name.as_str());
                    self.query.add_credential(name.as_str(), secret()?.expose());
                }
                place => self.put_in_body(place, id, secret()?)?,
            }
        }
        if let Some(value) = basic.header(&plan.basic_other) {
            self.headers.insert(AUTHORIZATION, sensitive(&value)?);
        }
        Ok(())
    }

    fn put_header(&mut self, name: &str, format: &str, secret: &Secret) -> Result<(), RenderError> {
        let name = HeaderName::try_from(name).map_err(|_| RenderError::Malformed)?;
        let value = Zeroizing::new(format.replace("{token}", secret.expose()));
        self.headers.insert(name, sensitive(&value)?);
        Ok(())
    }

    fn put_in_body(&mut self, place: &Inject, id: &str, secret: &Secret) -> Result<(), RenderError> {
        let no_place = || RenderError::NoPlace { credential: id.into() };
        match (place, &mut self.body) {
            (Inject::Form(name), Body::Form(fields)) => fields.add_credential(name.as_str(), secret.expose()),
            (Inject::Json(pointer), Body::Json(body)) => {
                body.add(&pointer.to_string(), secret.expose().into()).map_err(|_| no_place())?;
            }
            _ => return Err(no_place()),
        }
        Ok(())
    }

    fn into_request(mut self, plan: &ToolPlan) -> Result<Request<Bytes>, RenderError> {
        let (content_type, body) = match self.body {
            Body::None => (None, Vec::new()),
            Body::Json(body) => (Some("application/json".into()), body.into_bytes()),
            Body::Form(fields) => (Some("application/x-www-form-urlencoded".into()), fields.to_string().into_bytes()),
            Body::Multipart(parts) => (Some(parts.content_type()), parts.into_bytes()),
        };
        let text = |text: &str| HeaderValue::from_str(text).map_err(|_| RenderError::Malformed);
        if let Some(content_type) = content_type {
            self.headers.insert(CONTENT_TYPE, text(&content_type)?);
        }
        if plan.has_body() {
            self.headers.insert(CONTENT_LENGTH, body.len().into());
        }
        self.headers.entry(ACCEPT).or_insert(HeaderValue::from_static(DEFAULT_ACCEPT));
        self.headers.entry(USER_AGENT).or_insert(HeaderValue::from_static(DEFAULT_AGENT));
        self.headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        let mark = if self.query.is_empty() { "" } else { "?" };
        let address = Zeroizing::new(format!("https://{}{}{mark}{}", plan.host, self.path, self.query));
        let address: Uri = address.parse().map_err(|_| RenderError::Malformed)?;
        let method = Method::from_bytes(plan.tool.method.as_str().as_bytes()).map_err(|_| RenderError::Malformed)?;
        let mut request = Request::new(Bytes::from(body));
        (*request.method_mut(), *request.uri_mut(), *request.headers_mut()) = (method, address, self.headers);
        Ok(request)
    }
}

/// The two parts of `Basic`, of which one may be a constant.
struct Basic<'s> {
    user: Option<&'s str>,
    password: Option<&'s str>,
}

impl Basic<'_> {
    fn header(&self, other: &str) -> Option<Zeroizing<String>> {
        let pair = match (self.user, self.password) {
            (None, None) => return None,
            (user, password) => format!("{}:{}", user.unwrap_or(other), password.unwrap_or(other)),
        };
        Some(Zeroizing::new(format!("Basic {}", STANDARD.encode(Zeroizing::new(pair).as_bytes()))))
    }
}

/// A credential as a segment: what may stand there (RFC 3986, section 3.3) as it is, because the proxy looks for it so.
fn segment(secret: &Secret) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    let text = secret.expose();
    if text.bytes().all(plain) { text.into() } else { percent_encoded(text) }
}

fn secret(held: &Held) -> Result<&Secret, RenderError> {
    let missing = || RenderError::CredentialMissing { credential: held.id.clone(), variable: held.variable.clone() };
    held.secret.as_ref().ok_or_else(missing)
}

fn sensitive(text: &str) -> Result<HeaderValue, RenderError> {
    let mut value = HeaderValue::from_str(text).map_err(|_| RenderError::Malformed)?;
    value.set_sensitive(true);
    Ok(value)
}

/// What may have made a path that is not the template's.
fn path_params(plan: &ToolPlan) -> impl Iterator<Item = ArgumentFault> {
    let params = plan.tool.params.iter().filter(|param| param.place == ParamPlace::Path);
    params.map(|param| ArgumentFault { argument: param.name.clone(), problem: ArgumentProblem::PathSegment })
}

/// Why a request cannot be made although its arguments are right.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RenderError {
    /// The environment does not have it.
    #[error(
        "the credential `{credential}` is not set up: {variable} is empty. Whoever runs this server has to set it; nothing was sent"
    )]
    CredentialMissing {
        /// The credential.
        credential: String,
        /// The variable it is read from.
        variable: String,
    },
    /// The request has no such place.
    #[error(
        "the request of this tool has no place for the credential `{credential}`; its toolspec is wrong, and nothing was sent"
    )]
    NoPlace {
        /// The credential.
        credential: String,
    },
    /// What was put together is no request.
    #[error("the parts of the request make none; the toolspec of this tool is wrong, and nothing was sent")]
    Malformed,
}

const MAX_TARGET_BYTES: usize = 7 << 10;
const DEFAULT_ACCEPT: &str = "application/json, text/plain;q=0.9, */*;q=0.1";
const DEFAULT_AGENT: &str = concat!("gigmcp-toolpack/", env!("CARGO_PKG_VERSION"));
