//! One row of the table of routes: what it is called, who may call it, what goes in and what comes out.

use std::{future::Future, marker::PhantomData, pin::Pin, sync::Arc};

use http::{HeaderName, HeaderValue, Method, Response, StatusCode};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Serialize, de::DeserializeOwned};

use super::{
    Body,
    error::ApiError,
    input::{self, Raw},
    once::Replay,
    reply::{Reply, json, whole},
};
use crate::people::{Actor, Rule};

/// A request that was let in, and what it says.
pub(crate) struct Call<S, P = (), Q = (), B = ()> {
    pub(crate) state: Arc<S>,
    /// Who is calling; nobody only where the rule lets everybody in.
    pub(crate) caller: Option<Actor>,
    /// What the path names.
    pub(crate) path: P,
    pub(crate) query: Q,
    pub(crate) body: B,
    /// Beside the document: the address of the caller and the like.
    pub(crate) raw: Raw,
}

impl<S, P, Q, B> Call<S, P, Q, B> {
    /// Who is calling, if that is known.
    pub(crate) fn actor(&self) -> Result<&Actor, ApiError> {
        self.caller.as_ref().ok_or_else(ApiError::unauthenticated)
    }
}

type Answer = Pin<Box<dyn Future<Output = Result<Response<Body>, ApiError>> + Send>>;
type Handler<S> = Box<dyn Fn(Arc<S>, Option<Actor>, Raw) -> Answer + Send + Sync>;
type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// One method of one path.
pub(crate) struct Route<S> {
    pub(crate) method: Method,
    /// As in OpenAPI, `/servers/{name}`.
    pub(crate) path: &'static str,
    /// The operation's name.
    pub(crate) id: &'static str,
    pub(crate) summary: &'static str,
    /// Who may call it, and what that is; there is no default.
    pub(crate) rule: Rule,
    pub(crate) max_body_bytes: usize,
    /// Whether bodies of strangers take no room here from those elsewhere, nor those from them.
    pub(crate) own_room: bool,
    pub(crate) replay: Replay,
    pub(crate) path_schema: Option<SchemaOf>,
    pub(crate) query_schema: Option<SchemaOf>,
    pub(crate) body_schema: Option<SchemaOf>,
    pub(crate) body_type: BodyType,
    pub(crate) answer: Documented,
    pub(super) handler: Handler<S>,
}

/// How a body is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum BodyType {
    Json,
    /// As HTML's forms do, for what other programs send whose form is not ours to choose.
    Form,
}

impl BodyType {
    pub(crate) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Form => "application/x-www-form-urlencoded",
        }
    }
}

/// What comes out, for the document.
pub(crate) struct Documented {
    pub(crate) status: StatusCode,
    /// Nothing at all, if none.
    pub(crate) schema: Option<SchemaOf>,
    pub(crate) media_type: &'static str,
}

/// Begins a route. Who may call it comes first, so that it cannot be forgotten.
pub(crate) fn route(method: Method, path: &'static str, id: &'static str, rule: Rule) -> RouteBuilder<(), (), ()> {
    RouteBuilder {
        method,
        path,
        id,
        summary: "",
        rule,
        max_body_bytes: MAX_BODY_BYTES,
        own_room: false,
        replay: Replay::Answer,
        schemas: [None; 3],
        body_type: BodyType::Json,
        input: PhantomData,
    }
}

/// What a handler is given of a request.
type Reads<P, Q, B> = fn() -> (P, Q, B);

/// A route without its handler.
pub(crate) struct RouteBuilder<P, Q, B> {
    method: Method,
    path: &'static str,
    id: &'static str,
    summary: &'static str,
    rule: Rule,
    max_body_bytes: usize,
    own_room: bool,
    replay: Replay,
    schemas: [Option<SchemaOf>; 3],
    body_type: BodyType,
    input: PhantomData<Reads<P, Q, B>>,
}

impl<P, Q, B> RouteBuilder<P, Q, B> {
    /// One line for the document.
    pub(crate) fn summary(mut self, summary: &'static str) -> Self {
        self.summary = summary;
        self
    }

    /// Another bound than 64 KiB.
    pub(crate) fn max_body_bytes(mut self, bytes: usize) -> Self {
        self.max_body_bytes = bytes;
        self
    }

    /// Strangers who fill the room for their bodies elsewhere take none from those here.
    pub(crate) fn own_room(mut self) -> Self {
        self.own_room = true;
        self
    }

    /// The answer holds what is shown once, and is never kept.
    pub(crate) fn shown_once(mut self) -> Self {
        self.replay = Replay::Done;
        self
    }

    /// What the path names: an object with a member for each of its variables.
    pub(crate) fn path<T: DeserializeOwned + JsonSchema>(self) -> RouteBuilder<T, Q, B> {
        self.input(0, T::json_schema)
    }

    /// What the query says.
    pub(crate) fn query<T: DeserializeOwned + JsonSchema>(self) -> RouteBuilder<P, T, B> {
        self.input(1, T::json_schema)
    }

    /// What the body says.
    pub(crate) fn body<T: DeserializeOwned + JsonSchema>(self) -> RouteBuilder<P, Q, T> {
        self.input(2, |generator| generator.subschema_for::<T>())
    }

    /// What the body says, as a form.
    pub(crate) fn form<T: DeserializeOwned + JsonSchema>(mut self) -> RouteBuilder<P, Q, T> {
        self.body_type = BodyType::Form;
        self.body()
    }

    fn input<P2, Q2, B2>(mut self, place: usize, schema: SchemaOf) -> RouteBuilder<P2, Q2, B2> {
        self.schemas[place] = Some(schema);
        RouteBuilder {
            method: self.method,
            path: self.path,
            id: self.id,
            summary: self.summary,
            rule: self.rule,
            max_body_bytes: self.max_body_bytes,
            own_room: self.own_room,
            replay: self.replay,
            schemas: self.schemas,
            body_type: self.body_type,
            input: PhantomData,
        }
    }
}

impl<P, Q, B> RouteBuilder<P, Q, B>
where
    P: DeserializeOwned + Send + 'static,
    Q: DeserializeOwned + Send + 'static,
    B: DeserializeOwned + Send + 'static,
{
    /// Answers with a document.
    pub(crate) fn answers<S, F, T, W>(self, status: StatusCode, handler: F) -> Route<S>
    where
        S: Send + Sync + 'static,
        F: Fn(Call<S, P, Q, B>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply<T>, ApiError>> + Send + 'static,
        T: Serialize + JsonSchema + 'static,
    {
        let schema: SchemaOf = |generator| generator.subschema_for::<T>();
        let answer = Documented { status, schema: Some(schema), media_type: "application/json" };
        self.handled(answer, handler, move |Reply { document, headers }: Reply<T>| {
            let mut response = json(status, &document);
            put(&mut response, headers);
            response
        })
    }

    /// Answers that it is done, with 204.
    pub(crate) fn does<S, F, W>(self, handler: F) -> Route<S>
    where
        S: Send + Sync + 'static,
        F: Fn(Call<S, P, Q, B>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Reply<()>, ApiError>> + Send + 'static,
    {
        let answer = Documented { status: StatusCode::NO_CONTENT, schema: None, media_type: "" };
        self.handled(answer, handler, |reply: Reply<()>| {
            let mut response = whole(StatusCode::NO_CONTENT, "");
            put(&mut response, reply.headers);
            response
        })
    }

    /// Answers with something that is no JSON document: a stream, a redirection.
    pub(crate) fn responds<S, F, W>(self, status: StatusCode, media_type: &'static str, handler: F) -> Route<S>
    where
        S: Send + Sync + 'static,
        F: Fn(Call<S, P, Q, B>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<Response<Body>, ApiError>> + Send + 'static,
    {
        self.handled(Documented { status, schema: None, media_type }, handler, |response| response)
    }

    fn handled<S, F, R, W>(
        self,
        answer: Documented,
        handler: F,
        finish: impl Fn(R) -> Response<Body> + Copy + Send + Sync + 'static,
    ) -> Route<S>
    where
        S: Send + Sync + 'static,
        F: Fn(Call<S, P, Q, B>) -> W + Send + Sync + 'static,
        W: Future<Output = Result<R, ApiError>> + Send + 'static,
    {
        let body_type = self.schemas[2].map(|_| self.body_type);
        let handler: Handler<S> = Box::new(move |state, caller, mut raw| {
            let read = || -> Result<(P, Q, B), ApiError> {
                Ok((input::path(&raw)?, input::query(&raw)?, input::body(&raw, body_type)?))
            };
            match read() {
                Ok((path, query, body)) => {
                    raw.body = bytes::Bytes::new();
                    let answered = handler(Call { state, caller, path, query, body, raw });
                    Box::pin(async move { answered.await.map(finish) })
                }
                Err(error) => Box::pin(std::future::ready(Err(error))),
            }
        });
        let [path_schema, query_schema, body_schema] = self.schemas;
        Route {
            method: self.method,
            path: self.path,
            id: self.id,
            summary: self.summary,
            rule: self.rule,
            max_body_bytes: self.max_body_bytes,
            own_room: self.own_room,
            replay: self.replay,
            path_schema,
            query_schema,
            body_schema,
            body_type: self.body_type,
            answer,
            handler,
        }
    }
}

/// Adds headers; of those that may be there twice, such as cookies, all.
fn put(response: &mut Response<Body>, headers: Vec<(HeaderName, HeaderValue)>) {
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
}

/// More than any document of the API that people write.
const MAX_BODY_BYTES: usize = 64 * 1024;
