//! The state of a server that asks for input comes back to that server, for what it was asked then, and reaches nobody else. An
//! endpoint knows the name that its client calls, and by the time the client comes back, that may lead to another server.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::{backend::Entry, spares::Wanted};
use crate::{
    message::RpcError,
    object::{Members, quoted, string},
    seal::{MAX_TOKEN_BYTES, STATE, Sealer, TOO_LONG},
    sink::ClientContext,
    upstream::{Call, Outcome},
};

impl Entry {
    /// Puts the server's own state in the place of ours.
    ///
    /// # Errors
    /// If it is not one of this server, for this, and for whom it was made.
    pub(super) fn open_state(&self, wanted: Wanted<'_>, call: &mut Call) -> Result<(), RpcError> {
        let Some(context) = call.context.as_deref().filter(|context| context.state.is_some()) else { return Ok(()) };
        let own = context.state.as_deref().and_then(string).and_then(|token| {
            let plain = Sealer::of_process().open(&self.bound(wanted, context), &token)?;
            String::from_utf8(plain).ok()
        });
        let own = own.ok_or_else(|| RpcError::new(RpcError::INVALID_PARAMS, STATE))?;
        // One that had no state gets none.
        let state = RawValue::from_string(own).ok();
        call.context = Some(Arc::new(ClientContext { state, ..context.clone() }));
        Ok(())
    }

    /// What the server asks for, with its state under our seal. Whoever has none gets one from us, and gets the answers back by it.
    pub(super) fn sealing_state(
        &self,
        wanted: Wanted<'_>,
        context: Option<&ClientContext>,
        outcome: Outcome,
    ) -> Outcome {
        let (Outcome::InputRequired(result), Some(context)) = (&outcome, context) else { return outcome };
        let Ok(members) = Members::of(result) else { return outcome };
        let state = members.value("requestState");
        if state.or(members.value("inputRequests")).is_none() {
            return outcome;
        }
        let plain = state.map_or("", RawValue::get).as_bytes();
        let token = Sealer::of_process().seal(&self.bound(wanted, context), plain);
        if token.len() > MAX_TOKEN_BYTES {
            return Outcome::refused(&RpcError::new(RpcError::INTERNAL_ERROR, TOO_LONG));
        }
        Outcome::InputRequired(members.set("requestState", &quoted(&token)))
    }

    /// What a state is bound to. The definition tells a server from another that has got its name since.
    fn bound<'a>(&'a self, wanted: Wanted<'a>, context: &'a ClientContext) -> Vec<&'a str> {
        let owner = context.owner.as_deref().unwrap_or_default();
        let mut bound = vec!["server-state", owner, self.name.as_str()];
        match wanted {
            Wanted::Said(said) => bound.extend([said.kind.as_str(), &said.name, &said.text]),
            Wanted::Uri(uri) => bound.extend(["uri", uri]),
            Wanted::Declared(id) => bound.extend(["extension", id]),
        }
        bound
    }
}
