//! From the first use to an upgrade, on both kinds of database.

use std::sync::Arc;

use gigmcp_mcp::{Definition, DefinitionKind, Pins, Process, Standing};
use serde_json::value::RawValue;

use super::{admin::PinError, *};
use crate::{
    people::Actor,
    spec::{Owner, ProfileSlug, SaidTool, ServerName, ServerSpec, Source},
    store::{By, Store, StoreError, on_both},
};

fn notes() -> ServerName {
    "notes".parse().expect("a name")
}

fn by() -> By {
    By { told: "a test".to_owned(), standing: None }
}

fn slug() -> ProfileSlug {
    "work".parse().expect("a name")
}

fn spec(words: &[&str]) -> ServerSpec {
    ServerSpec { command: words.iter().map(ToString::to_string).collect(), ..ServerSpec::new(Source::HostTools) }
}

/// A server in a profile, agreed to.
async fn agreed(store: &Store) -> i64 {
    store.add_server(notes(), spec(&["x"]), Vec::new()).await.expect("a new server");
    store.create_profile(slug(), Owner::local(), vec![notes()], "hash".to_owned()).await.expect("a new profile");
    store.server(notes()).await.expect("it is there").revision
}

fn tool(name: &str, description: &str) -> Arc<Definition> {
    let text = format!(r#"{{"name":"{name}","description":"{description}"}}"#);
    let raw = RawValue::from_string(text).expect("JSON");
    Arc::new(Definition::new(DefinitionKind::Tool, name, &raw))
}

async fn pins(store: &Store, revision: i64) -> KeptPins {
    let profile = store.profile(slug()).await.expect("it is there");
    KeptPins::new(store, &profile, notes(), revision)
}

async fn standings(pins: &KeptPins, said: &[Arc<Definition>]) -> Vec<Standing> {
    pins.judge(said, Process::First).await.expect("it is known")
}

async fn trail(store: &Store) -> Vec<(String, String)> {
    let rows = store.audit_tail(99).await.expect("it can be read");
    let rows = rows.into_iter().map(|row| row.row).filter(|row| row.kind == "pin");
    rows.map(|row| (row.verdict, row.subject)).collect()
}

const AGREED: Standing = Standing::Agreed;

#[tokio::test]
async fn a_rug_pull_is_held_back_until_exactly_it_is_accepted() {
    on_both(async |test| {
        let store = test.open();
        let kept = pins(&store, agreed(&store).await).await;
        let (send, stay, other) = (tool("send", "Sends."), tool("stay", "Stays."), tool("send", "Sends it to me."));
        let more = tool("more", "More.");
        assert_eq!(standings(&kept, &[send.clone(), stay.clone()]).await, [AGREED, AGREED], "first use");
        assert_eq!(standings(&kept, &[stay.clone(), send.clone()]).await, [AGREED, AGREED], "twin: in any order");
        let changed = [other.clone(), stay.clone(), more.clone()];
        for _ in 0..2 {
            assert_eq!(standings(&kept, &changed).await, [Standing::Changed, AGREED, Standing::New]);
        }
        let told = trail(&store).await;
        assert_eq!(told.len(), 2, "each is told of once: {told:?}");
        assert_eq!(
            told[0],
            ("pinned".into(), format!("2 at first use: tool send {}, tool stay {}", send.digest, stay.digest))
        );
        assert_eq!(told[1], ("held".into(), format!("2: tool send {}, tool more {}", other.digest, more.digest)));

        let listed = list(&store, &Owner::local(), None).await.expect("it can be read");
        let listed: Vec<_> = listed.iter().map(|pin| (&*pin.name, pin.standing)).collect();
        assert_eq!(listed, [("send", "changed"), ("stay", "agreed"), ("more", "new")]);
        let local = Owner::local();
        let only = |name: &str| Selection::Names(vec![name.to_owned()]);
        let shown = differences(&store, &local, &notes(), only("send")).await.expect("it can be read");
        assert_eq!((shown.len(), &*shown[0].digest), (1, &*other.digest.to_string()));
        assert!(lines_of(&shown[0].pieces).iter().any(|line| line.contains("it to me.\",+}")), "{shown:?}");

        let refused = accept(&store, &local, &notes(), only("send"), send.digest, &Actor::local()).await;
        assert!(matches!(refused, Err(PinError::Another { .. })), "{refused:?}");
        let refused = accept(&store, &local, &notes(), Selection::All, other.digest, &Actor::local()).await;
        assert!(matches!(refused, Err(PinError::Another { .. })), "there is more than that: {refused:?}");
        let refused = accept(&store, &local, &notes(), only("stay"), stay.digest, &Actor::local()).await;
        assert!(matches!(refused, Err(PinError::NotHeld { .. })), "{refused:?}");
        let somebody = "somebody".parse().expect("an owner");
        assert!(
            accept(&store, &somebody, &notes(), only("send"), other.digest, &Actor::local()).await.is_err(),
            "another's"
        );
        assert_eq!(standings(&kept, &changed).await, [Standing::Changed, AGREED, Standing::New]);

        let mut changes = store.changes();
        changes.mark_unchanged();
        accept(&store, &local, &notes(), only("tool:send"), other.digest, &Actor::local())
            .await
            .expect("twin: as it is");
        assert!(changes.has_changed().expect("it is open"), "gateways are told");
        let generations = store.pin_generations(local.clone()).await.expect("they can be read");
        assert!(kept.saw(generations[&notes()]) && !kept.saw(generations[&notes()]));
        assert_eq!(standings(&kept, &changed).await, [AGREED, AGREED, Standing::New]);
        assert_eq!(standings(&kept, &[send]).await, [Standing::Changed], "what was before is not agreed to any more");
        standings(&kept, &changed).await;
        let rest = differences(&store, &local, &notes(), Selection::All).await.expect("it can be read");
        let digest = digest_of_all(&rest).expect("there is one");
        let accepted =
            accept(&store, &local, &notes(), Selection::All, digest, &Actor::local()).await.expect("all of it");
        assert_eq!(accepted.definitions, ["tool more"]);
        assert_eq!(standings(&kept, &changed).await, [AGREED; 3]);
        let refused = accept(&store, &local, &notes(), Selection::All, digest, &Actor::local()).await;
        assert!(matches!(refused, Err(PinError::NothingHeld { .. })), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn what_changes_between_look_and_consent_is_not_accepted() {
    on_both(async |test| {
        let store = test.open();
        let kept = pins(&store, agreed(&store).await).await;
        standings(&kept, &[tool("send", "Sends.")]).await;
        let (looked_at, then) = (tool("send", "Sends twice."), tool("send", "Sends it to me."));
        standings(&kept, std::slice::from_ref(&looked_at)).await;
        standings(&kept, &[then]).await;
        let of = crate::store::PinnedServer { owner: Owner::local(), server: notes() };
        let key = PinKey::of(&looked_at);
        let refused = store.accept_pins(of.clone(), vec![(key.clone(), looked_at.digest)], by()).await;
        assert!(matches!(refused, Err(StoreError::Moved { .. })), "{refused:?}");
        standings(&kept, std::slice::from_ref(&looked_at)).await;
        store.accept_pins(of, vec![(key, looked_at.digest)], by()).await.expect("twin");
    })
    .await;
}

#[tokio::test]
async fn a_new_revision_is_pinned_anew_and_shows_what_it_changed() {
    on_both(async |test| {
        let store = test.open();
        let (first, local) = (agreed(&store).await, Owner::local());
        let old = pins(&store, first).await;
        let (before, after) = (tool("send", "Sends."), tool("send", "Sends much."));
        standings(&old, &[before.clone(), tool("gone", "")]).await;
        standings(&old, std::slice::from_ref(&after)).await;
        store.replace_server(notes(), spec(&["y"]), local.clone()).await.expect("an upgrade");
        let new = pins(&store, store.server(notes()).await.expect("it is there").revision).await;
        assert!(
            old.judge(std::slice::from_ref(&before), Process::First).await.is_err(),
            "it is not agreed to any more"
        );
        let beside = new.judge(std::slice::from_ref(&after), Process::Beside).await.expect("it is known");
        assert_eq!(beside, [Standing::New], "only the first process is taken at its word");
        assert_eq!(standings(&new, std::slice::from_ref(&after)).await, [AGREED]);
        let shown = differences(&store, &local, &notes(), Selection::All).await.expect("it can be read");
        assert_eq!((shown.len(), shown[0].standing), (1, "replaced"));
        let told = trail(&store).await.pop().expect("a row");
        assert!(told.1.starts_with("1 at first use (1 changed and 1 gone since the pins of before)"), "{told:?}");
        assert_eq!(standings(&new, &[before]).await, [Standing::Changed]);
    })
    .await;
}

#[tokio::test]
async fn after_a_reset_what_comes_next_is_pinned() {
    on_both(async |test| {
        let store = test.open();
        let kept = pins(&store, agreed(&store).await).await;
        let other = [tool("send", "Sends it to me.")];
        standings(&kept, &[tool("send", "Sends.")]).await;
        assert_eq!(standings(&kept, &other).await, [Standing::Changed], "twin");
        reset(&store, &Owner::local(), &notes(), &Actor::local()).await.expect("it is there");
        assert_eq!(standings(&kept, &other).await, [AGREED]);
        assert_eq!(trail(&store).await[2].0, "reset");
        let nobody = reset(&store, &Owner::local(), &"none".parse().expect("a name"), &Actor::local()).await;
        assert!(matches!(nobody, Err(PinError::Store(StoreError::Missing { .. }))), "{nobody:?}");
    })
    .await;
}

#[tokio::test]
async fn a_profile_that_follows_takes_what_comes_within_the_manifest() {
    on_both(async |test| {
        let store = test.open();
        let said = |name: &str| SaidTool { name: name.to_owned(), definition: None, off: false, read_only: false };
        let bounded = ServerSpec { tools: vec![said("send")], ..spec(&["x"]) };
        store.add_server(notes(), bounded, Vec::new()).await.expect("a new server");
        store.create_profile(slug(), Owner::local(), vec![notes()], "hash".to_owned()).await.expect("a new profile");
        let revision = store.server(notes()).await.expect("it is there").revision;
        let set = async |value: &str| {
            let (name, value) = ("definitions".to_owned(), Some(value.to_owned()));
            store.set_of_profile(slug(), Some(notes()), name, value).await.expect("it is written").is_ok()
        };
        assert!(!set("folow").await);
        for (value, changed) in [("pin", Standing::Changed), ("follow", AGREED)] {
            assert!(set(value).await);
            let kept = pins(&store, revision).await;
            standings(&kept, &[tool("send", "Sends.")]).await;
            let standings = standings(&kept, &[tool("send", "Sends it to me."), tool("more", "")]).await;
            assert_eq!(standings, [changed, Standing::Barred], "{value}");
            assert_eq!(kept.follows(), value == "follow");
        }
    })
    .await;
}

#[tokio::test]
async fn two_gateways_that_read_first_at_the_same_time_agree() {
    on_both(async |test| {
        let store = test.open();
        let revision = agreed(&store).await;
        let (one, two) = (pins(&store, revision).await, pins(&store, revision).await);
        let (honest, other) = ([tool("send", "Sends.")], [tool("send", "Sends it to me.")]);
        let (one, two) = tokio::join!(standings(&one, &honest), standings(&two, &other));
        let mut both = [one[0], two[0]];
        both.sort_by_key(|standing| *standing != AGREED);
        assert_eq!(both, [AGREED, Standing::Changed], "one of them was first");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_always_says_something_else_fills_nothing() {
    on_both(async |test| {
        let store = test.open();
        let (kept, local) = (pins(&store, agreed(&store).await).await, Owner::local());
        let says = |number: u32| [tool("send", &number.to_string())];
        standings(&kept, &[tool("send", "Sends.")]).await;
        for number in 0..2 * budget::AT_ONCE {
            assert_eq!(standings(&kept, &says(number)).await, [Standing::Changed], "{number}");
        }
        assert_eq!(trail(&store).await.len(), budget::AT_ONCE as usize, "the first use is one of them");
        // What is shown is older than what it says: to accept that does not let the other pass.
        let shown = differences(&store, &local, &notes(), Selection::All).await.expect("it can be read");
        let digest = digest_of_all(&shown).expect("there is one");
        accept(&store, &local, &notes(), Selection::All, digest, &Actor::local()).await.expect("it is held back");
        assert_eq!(standings(&kept, &says(2 * budget::AT_ONCE - 1)).await, [Standing::Changed]);
        assert_eq!(standings(&kept, &says(budget::AT_ONCE - 2)).await, [AGREED], "twin: this is what was shown");
    })
    .await;
}
