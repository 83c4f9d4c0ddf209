//! Bodies whose end is held back, while whoever sends them loses what they were let in with.

use std::{
    convert::Infallible,
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Method, header};
use http_body::{Body as HttpBody, Frame};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    super::PREFIX,
    world::{ADDRESS, AGENT, HOST, Proof, World, proof},
};
use crate::people::{Actor, Role};

/// What is sent piece by piece.
struct Pieces(mpsc::Receiver<Bytes>);

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_recv(context).map(|piece| piece.map(|piece| Ok(Frame::data(piece))))
    }
}

/// Sends all of a body but its end, does something else, and then sends the end.
async fn late(
    world: &World,
    proof: &Proof,
    (method, path): (Method, &str),
    body: &Value,
    meanwhile: impl Future,
) -> String {
    let mut request = http::Request::builder().method(method).uri(format!("{PREFIX}{path}")).header(header::HOST, HOST);
    request = request.header(header::USER_AGENT, AGENT);
    request = match proof {
        Proof::Session(cookie, csrf) => {
            request.header(header::COOKIE, format!("gig_session={cookie}")).header(super::super::CSRF_HEADER, csrf)
        }
        Proof::Key(key) => request.header(header::AUTHORIZATION, format!("Bearer {key}")),
        Proof::None => request,
    };
    let (send, receive) = mpsc::channel(1);
    let request = request.header(header::CONTENT_TYPE, "application/json").body(Pieces(receive)).expect("a request");
    let text = if body.is_null() { String::new() } else { body.to_string() };
    let (begin, end) = text.split_at(text.len() / 2);
    let (begin, end) = (Bytes::copy_from_slice(begin.as_bytes()), Bytes::copy_from_slice(end.as_bytes()));
    let sending = async {
        send.send(begin).await.expect("it is read");
        // Taken up: there is room for one only.
        send.send(Bytes::new()).await.expect("it is read");
        send.send(Bytes::new()).await.expect("it is read");
        meanwhile.await;
        send.send(end).await.expect("it is read");
        drop(send);
    };
    let (response, ()) = tokio::join!(world.router.answer(request, ADDRESS), sending);
    let (parts, body) = response.into_parts();
    let body = body.collect().await.expect("a body").to_bytes();
    if parts.status.is_success() {
        return "ok".to_owned();
    }
    let body: Value = serde_json::from_slice(&body).expect("a document");
    body["error"]["code"].as_str().expect("every error has one").to_owned()
}

#[tokio::test]
async fn who_was_thrown_out_while_they_sent_a_body_does_nothing_with_it() {
    let world = World::new(&[]).await;
    let people = &world.state.people;
    for number in 0..3 {
        let mallory = world.account(&format!("mallory{number}"), Role::Admin).await;
        let me = mallory.id.as_str();
        let role = format!("/users/{me}/role");
        let enable = format!("/users/{me}/enable");
        let tokens = format!("/profiles/{}/tokens", mallory.profile);
        let (admin, token) = (json!({ "role": "admin" }), json!({ "name": "new" }));
        let is = async || people.account(&Actor::local(), &mallory.id).await.expect("it is there");
        let session = proof(&mallory.session);
        match number {
            0 => {
                let disabled = async { people.disable(&Actor::local(), &mallory.id).await.expect("there is another") };
                let asked = (Method::POST, enable.as_str());
                assert_eq!(late(&world, &session, asked, &Value::Null, disabled).await, "unauthenticated");
                assert!(is().await.disabled_at.is_some());
            }
            1 => {
                let demoted = async { people.set_role(&Actor::local(), &mallory.id, Role::User).await.expect("done") };
                let asked = (Method::PUT, role.as_str());
                assert_eq!(late(&world, &session, asked, &admin, demoted).await, "unauthenticated");
                assert_eq!(is().await.role, Role::User);
            }
            _ => {
                let nothing = async {};
                assert_eq!(late(&world, &session, (Method::POST, &tokens), &token, nothing).await, "ok", "twin");
                let disabled = async { people.disable(&Actor::local(), &mallory.id).await.expect("there is another") };
                let token = json!({ "name": "newer" });
                let asked = (Method::POST, tokens.as_str());
                assert_eq!(late(&world, &session, asked, &token, disabled).await, "unauthenticated");
                people.enable(&Actor::local(), &mallory.id).await.expect("done");
                let local = Actor { user: mallory.id.clone(), ..Actor::local() };
                let left = people.tokens(&local, &mallory.profile).await.expect("they can be read");
                assert!(left.is_empty(), "nothing works that was made meanwhile");
            }
        }
    }
}

#[tokio::test]
async fn a_key_that_was_revoked_while_a_body_was_sent_is_none() {
    let world = World::new(&[]).await;
    let people = &world.state.people;
    let boss = world.account("boss", Role::Admin).await;
    let key = world.key(&boss, "users:write").await;
    let body = json!({ "email": "new@example.com", "role": "user" });
    let asked = || (Method::POST, "/invitations");
    assert_eq!(late(&world, &key, asked(), &body, async {}).await, "ok", "twin");
    let body = json!({ "email": "newer@example.com", "role": "user" });
    let name = "kusers-write".parse().expect("a name");
    let revoked = async { people.revoke_api_key(&Actor::local(), &boss.id, name).await.expect("there is one") };
    assert_eq!(late(&world, &key, asked(), &body, revoked).await, "unauthenticated");
    let invited = people.invitations(&Actor::local()).await.expect("they can be read");
    assert!(invited.iter().all(|code| code.email.as_ref().is_none_or(|email| email.as_str() != "newer@example.com")));
}
