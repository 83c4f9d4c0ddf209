//! What a server asks of clients.

use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::value::RawValue;

use super::{Finding, Guard, NOTHING, secret::secret_field, size};
use crate::{
    aggregator::host_of,
    extension::is_question_of_protocol,
    hygiene::is_dirty,
    message::{Request, RpcError},
    object::{Members, quoted},
};

impl Guard {
    /// A question as it may be put to a client.
    ///
    /// # Errors
    /// The answer that the server gets instead.
    pub(super) fn question(&self, request: Request) -> Result<Request, RpcError> {
        let of_extension = !is_question_of_protocol(&request.method);
        let nothing = || RawValue::from_string("{}".to_owned()).expect("it is JSON");
        // Nothing else in it would say who asks.
        let Some(params) = request.params.or_else(|| of_extension.then(nothing)) else {
            return Ok(Request { params: None, ..request });
        };
        let most = match &*request.method {
            "sampling/createMessage" => self.policy.limits.base64_bytes,
            _ => MAX_QUESTION_BYTES,
        };
        if params.get().len() > most {
            return Err(self.refused("the request is too long"));
        }
        if !size::is_shallow(params.get(), self.policy.limits.nesting) {
            return Err(self.refused("the request is nested too deeply"));
        }
        let params = match self.rewritten(&params, NOTHING) {
            Some(clean) if clean.keys => return Err(self.refused("a member's name holds what is not to be seen")),
            Some(clean) => clean.json,
            None => params,
        };
        let params = match &*request.method {
            "sampling/createMessage" => self.sampling(params)?,
            "elicitation/create" => self.elicitation(params)?,
            _ if of_extension => self.named(&params)?,
            _ => params,
        };
        Ok(Request { params: Some(params), ..request })
    }

    /// The questions in a result of the newer era; `None` if they may be as they are. `samplings` is how many were asked for
    /// before, and grows.
    pub(super) fn questions(
        &self,
        result: &RawValue,
        samplings: &AtomicUsize,
    ) -> Result<Option<Box<RawValue>>, RpcError> {
        let malformed = || RpcError::new(RpcError::INTERNAL_ERROR, "the server asks for input in a malformed way");
        let members = Members::of(result).map_err(|_| malformed())?;
        let Some(requests) = members.value("inputRequests") else { return Ok(None) };
        let requests = Members::of(requests).map_err(|_| malformed())?;
        let mut all = Vec::new();
        for (key, raw) in requests.iter() {
            // The answer goes back under it; and one of ours must be nobody else's.
            if is_dirty(key) || is_ours(key) {
                return Err(self.refused("the name of a question holds what is not to be seen, or is one of ours"));
            }
            let request = Members::of(raw).map_err(|_| malformed())?;
            let method = request.string("method").ok_or_else(malformed)?;
            if method == "sampling/createMessage"
                && samplings.fetch_add(1, Ordering::Relaxed) >= self.policy.samplings_per_call
            {
                return Err(self.refused("the call has asked for too many samplings"));
            }
            let params = request.value("params").map(ToOwned::to_owned);
            let asked = self.question(Request { id: 0.into(), method: method.into(), params })?;
            let changed = asked.params.and_then(|params| request.with_raw("params", params.get()));
            all.push(format!("{}:{}", quoted(key), changed.as_deref().unwrap_or(raw).get()));
        }
        Ok(members.with_raw("inputRequests", &format!("{{{}}}", all.join(","))))
    }

    /// Without what other servers said, and with the name of the one that asks.
    fn sampling(&self, params: Box<RawValue>) -> Result<Box<RawValue>, RpcError> {
        let members = Members::of(&params).map_err(|_| self.refused(NO_OBJECT))?;
        match members.value("includeContext") {
            Some(_) => self.named(&members.without("includeContext")),
            None => self.named(&params),
        }
    }

    /// With the name of the one that asks.
    fn named(&self, params: &RawValue) -> Result<Box<RawValue>, RpcError> {
        let twice = |_| self.refused(NO_OBJECT);
        let members = Members::of(params).map_err(twice)?;
        let meta = match members.value("_meta") {
            Some(meta) => Members::of(meta).map_err(twice)?.set(SERVER, &quoted(self.server.as_str())),
            None => RawValue::from_string(format!("{{{}:{}}}", quoted(SERVER), quoted(self.server.as_str())))
                .expect("strings are JSON"),
        };
        Ok(members.set("_meta", meta.get()))
    }

    /// A form asks for no secret: what is typed into one goes to the server, and past the vault.
    fn elicitation(&self, params: Box<RawValue>) -> Result<Box<RawValue>, RpcError> {
        let members = Members::of(&params).map_err(|_| self.refused(NO_OBJECT))?;
        if members.string("mode").as_deref() == Some("url") {
            return match members.string("url").and_then(|url| host_of(&url)) {
                Some(_) => Ok(params),
                None => Err(self.refused("only https addresses are shown")),
            };
        }
        let Some(schema) = members.value("requestedSchema") else { return Ok(params) };
        match secret_field(schema) {
            Ok(None) => Ok(params),
            Ok(Some(field)) => {
                self.tally.add(Finding::QuestionRefused, 1);
                let text = format!("a form cannot ask for a secret, as its field {field:?} does; ask in url mode");
                Err(RpcError::new(RpcError::INVALID_PARAMS, text))
            }
            Err(reason) => Err(self.refused(reason)),
        }
    }

    pub(super) fn refused(&self, reason: &str) -> RpcError {
        self.tally.add(Finding::QuestionRefused, 1);
        RpcError::new(RpcError::INVALID_PARAMS, reason)
    }
}

/// Whether a question goes by a name that only our own have.
pub(super) fn is_ours(key: &str) -> bool {
    key.get(..OURS.len()).is_some_and(|start| start.eq_ignore_ascii_case(OURS))
}

/// What the names of our own questions begin with.
pub(crate) const OURS: &str = "gigmcp-";
/// Of what people are asked; dozens may wait, and each is kept until then. A sampling may have pictures in it, and there are few.
const MAX_QUESTION_BYTES: usize = 256 << 10;
const NO_OBJECT: &str = "params is no object, or names a member twice";
/// Which server asks for a sampling, or for what an extension knows.
const SERVER: &str = "gigmcp/server";
