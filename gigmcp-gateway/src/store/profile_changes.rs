//! What the owner of a profile changes, each with its row in the audit trail, and lists of profiles.

use sea_query::{Condition, Expr, ExprTrait, Order, Query};

use super::{
    Profile, ProfileId, Store, StoreError, Told,
    connection::Connection,
    profiles,
    schema::{Consents, ProfileServers, Profiles, Servers},
    servers,
};
use crate::spec::{InvalidProfileSetting, Owner, ProfileSettings, ProfileSlug, ServerName};

/// A server in a profile, also one that the owner has not agreed to as it is now.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Member {
    pub(crate) server: ServerName,
    pub(crate) revision: i64,
    /// The revision that the owner agreed to last; if it is another, the server does not run for them.
    pub(crate) agreed: Option<i64>,
}

impl Store {
    /// Puts a server into a profile, or agrees to it anew. With `seen`, only if that is its revision still.
    pub(crate) async fn put_member(
        &self,
        profile: &Profile,
        server: ServerName,
        seen: Option<i64>,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        let (slug, id) = (profile.slug.clone(), profile.id);
        self.change_told(told, move |connection| {
            require_same(connection, &slug, id)?;
            let revision = servers::require(connection, &server)?.revision;
            if seen.is_some_and(|seen| seen != revision) {
                return Err(StoreError::Moved { server });
            }
            profiles::add_member(connection, &slug, &server)
        })
        .await
    }

    /// Takes a server out of a profile.
    pub(crate) async fn drop_member(
        &self,
        profile: &Profile,
        server: ServerName,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        let (slug, id) = (profile.slug.clone(), profile.id);
        self.change_told(told, move |connection| {
            let profile = require_same(connection, &slug, id)?;
            profiles::remove_member(connection, &profile, &server)
        })
        .await
    }

    /// Changes what was said of a profile, all of it or nothing. A server of which something is said must be in it.
    pub(crate) async fn edit_settings(
        &self,
        profile: &Profile,
        of: Vec<ServerName>,
        edit: impl FnOnce(&mut ProfileSettings) -> Result<(), InvalidProfileSetting> + Send + 'static,
        told: impl Into<Told>,
    ) -> Result<Result<ProfileSettings, InvalidProfileSetting>, StoreError> {
        let (slug, id) = (profile.slug.clone(), profile.id);
        let told = told.into();
        self.change(move |connection| {
            told.check(connection)?;
            let mut profile = require_same(connection, &slug, id)?;
            for server in &of {
                profiles::require_member(&profile, server)?;
            }
            if let Err(invalid) = edit(&mut profile.settings) {
                return Ok(Err(invalid));
            }
            profiles::write_settings(connection, &profile)?;
            told.append(connection)?;
            Ok(Ok(profile.settings))
        })
        .await
    }

    /// Deletes a profile and its tokens.
    pub(crate) async fn drop_profile(&self, profile: &Profile, told: impl Into<Told>) -> Result<(), StoreError> {
        let (slug, id) = (profile.slug.clone(), profile.id);
        self.change_told(told, move |connection| {
            require_same(connection, &slug, id)?;
            profiles::delete(connection, id)
        })
        .await
    }

    /// The next profiles after a slug, of one owner or of all.
    pub(crate) async fn profiles_after(
        &self,
        owner: Option<Owner>,
        after: Option<ProfileSlug>,
        limit: u64,
    ) -> Result<Vec<Profile>, StoreError> {
        self.read(move |connection| {
            let mut of = Condition::all();
            if let Some(owner) = &owner {
                of = of.add(Expr::col(Profiles::Owner).eq(owner.as_str()));
            }
            if let Some(after) = &after {
                of = of.add(Expr::col(Profiles::Slug).gt(after.as_str()));
            }
            let select = Query::select()
                .column(Profiles::Slug)
                .from(Profiles::Table)
                .cond_where(of)
                .order_by(Profiles::Slug, Order::Asc)
                .limit(limit)
                .take();
            let slugs = connection.rows(&select, |row| profiles::parse_slug(row, 0))?;
            slugs.iter().map(|slug| profiles::require(connection, slug)).collect()
        })
        .await
    }

    /// All servers in a profile, by name.
    pub(crate) async fn members(&self, profile: &Profile) -> Result<Vec<Member>, StoreError> {
        let (id, owner) = (profile.id, profile.owner.clone());
        self.read(move |connection| {
            let agreed = Expr::col((Consents::Table, Consents::Server))
                .equals((Servers::Table, Servers::Name))
                .and(Expr::col((Consents::Table, Consents::UserId)).eq(owner.as_str()));
            let select = Query::select()
                .column((Servers::Table, Servers::Name))
                .column((Servers::Table, Servers::Revision))
                .column((Consents::Table, Consents::Revision))
                .from(ProfileServers::Table)
                .inner_join(
                    Servers::Table,
                    Expr::col((ProfileServers::Table, ProfileServers::Server)).equals((Servers::Table, Servers::Name)),
                )
                .left_join(Consents::Table, agreed)
                .and_where(Expr::col((ProfileServers::Table, ProfileServers::ProfileId)).eq(id.0))
                .order_by((Servers::Table, Servers::Name), Order::Asc)
                .take();
            connection.rows(&select, |row| {
                let name: String = row.get(0)?;
                let server = name.parse().map_err(|_| StoreError::Corrupt { what: "server", name })?;
                Ok(Member { server, revision: row.get(1)?, agreed: row.get(2)? })
            })
        })
        .await
    }
}

/// The profile that was looked at. One of its name that was made since may be another's.
fn require_same(connection: &Connection, slug: &ProfileSlug, id: ProfileId) -> Result<Profile, StoreError> {
    let found = profiles::require(connection, slug)?;
    match found.id == id {
        true => Ok(found),
        false => Err(StoreError::Missing { what: "profile", name: slug.to_string(), known: Vec::new() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        spec::{ServerSpec, Source},
        store::AuditRow,
        store::testing::on_both,
        token,
        trail::testing::row,
    };

    fn slug(text: &str) -> ProfileSlug {
        text.parse().expect("a profile name")
    }

    fn server(text: &str) -> ServerName {
        text.parse().expect("a server name")
    }

    async fn store_with_notes(test: &crate::store::TestDatabase) -> Store {
        let store = test.open();
        let spec = ServerSpec { command: vec!["notes".to_owned()], ..ServerSpec::new(Source::HostTools) };
        store.add_server(server("notes"), spec, Vec::new()).await.expect("a new server");
        let token = token::hash("work");
        store.create_profile(slug("work"), Owner::local(), Vec::new(), token).await.expect("a new profile");
        store
    }

    #[tokio::test]
    async fn changes_are_told_of_and_need_the_profile_that_was_looked_at() {
        on_both(async |test| {
            let store = store_with_notes(&test).await;
            let work = store.profile(slug("work")).await.expect("it is there");
            let seen = store.server(server("notes")).await.expect("it is there").revision;
            let other = store.put_member(&work, server("notes"), Some(seen + 1), row("other")).await;
            assert!(matches!(other, Err(StoreError::Moved { .. })), "another revision than was seen: {other:?}");
            store.put_member(&work, server("notes"), Some(seen), row("put")).await.expect("twin: what was seen");
            let members = store.members(&work).await.expect("they can be read");
            assert_eq!(members, [Member { server: server("notes"), revision: seen, agreed: Some(seen) }]);
            let edit = |settings: &mut ProfileSettings| settings.set(None, "tools", Some("meta"));
            let edited = store.edit_settings(&work, vec![server("notes")], edit, row("said")).await;
            assert!(edited.expect("it is written").is_ok());
            let bad = |settings: &mut ProfileSettings| settings.set(None, "tools", Some("none"));
            assert!(store.edit_settings(&work, Vec::new(), bad, row("bad")).await.expect("it is read").is_err());
            store.drop_member(&work, server("notes"), row("out")).await.expect("it was in it");
            let out = store.drop_member(&work, server("notes"), row("twice")).await;
            assert!(matches!(out, Err(StoreError::Missing { .. })));
            store.delete_profile(slug("work")).await.expect("it is there");
            let token = token::hash("again");
            store.create_profile(slug("work"), Owner::local(), Vec::new(), token).await.expect("the name is free");
            let gone = store.drop_profile(&work, row("gone")).await;
            assert!(matches!(gone, Err(StoreError::Missing { .. })), "another of its name: {gone:?}");
            let work = store.profile(slug("work")).await.expect("it is there");
            store.drop_profile(&work, row("dropped")).await.expect("twin: the one that was looked at");
            let told = store.audit_tail(100).await.expect("it can be read");
            let told: Vec<_> = told.iter().map(|row| row.row.subject.as_str()).collect();
            assert_eq!(told, ["put", "said", "out", "dropped"], "what was refused is not told as done");
        })
        .await;
    }

    #[tokio::test]
    async fn what_nobody_agreed_to_as_it_is_now_is_shown_as_such() {
        on_both(async |test| {
            let store = store_with_notes(&test).await;
            let work = store.profile(slug("work")).await.expect("it is there");
            store.put_member(&work, server("notes"), None, row("put")).await.expect("it is there");
            test.sql("DELETE FROM consents");
            let members = store.members(&work).await.expect("they can be read");
            assert_eq!(members.iter().map(|member| member.agreed).collect::<Vec<_>>(), [None]);
            store.put_member(&work, server("notes"), None, row("again")).await.expect("it is there");
            let member = store.members(&work).await.expect("they can be read").remove(0);
            assert_eq!(member.agreed, Some(member.revision), "twin");
        })
        .await;
    }

    #[tokio::test]
    async fn profiles_come_in_pages_of_one_owner_or_of_all() {
        on_both(async |test| {
            let store = test.open();
            for name in ["a", "b", "c"] {
                let token = token::hash(name);
                store.create_profile(slug(name), Owner::local(), Vec::new(), token).await.expect("a new profile");
            }
            let names = async |owner: Option<Owner>, after: Option<&str>, limit| {
                let page = store.profiles_after(owner, after.map(slug), limit).await.expect("they can be read");
                page.iter().map(|profile| profile.slug.to_string()).collect::<Vec<_>>()
            };
            assert_eq!(names(None, None, 2).await, ["a", "b"]);
            assert_eq!(names(Some(Owner::local()), Some("b"), 2).await, ["c"]);
            let other = "somebody".parse().expect("an owner");
            assert!(names(Some(other), None, 2).await.is_empty());
        })
        .await;
    }

    #[tokio::test]
    async fn nobody_fills_the_database_with_profiles_or_with_what_they_say_of_them() {
        on_both(async |test| {
            let store = store_with_notes(&test).await;
            let new = async |number: usize| {
                let slug = slug(&format!("n{number}"));
                let hash = format!("hash {number}");
                store.create_profile_told(slug, Owner::local(), Vec::new(), hash, AuditRow::default()).await
            };
            for number in 1..100 {
                new(number).await.expect("there is room");
            }
            assert!(matches!(new(100).await, Err(StoreError::TooMany { what: "profiles", max: 100 })));
            store.delete_profile(slug("n1")).await.expect("it is there");
            new(100).await.expect("twin: in the place of another");
            store.add_to_profile(slug("work"), server("notes")).await.expect("it is there");
            let off = async |count: usize, length: usize| {
                let names: Vec<_> = (0..count).map(|number| format!("{number:0length$}")).collect();
                let (notes, name) = (Some(server("notes")), "disabled_tools".to_owned());
                store.set_of_profile(slug("work"), notes, name, Some(names.join(","))).await
            };
            assert!(off(1000, 4).await.expect("twin").is_ok());
            let many = off(1001, 4).await;
            assert!(matches!(many, Err(StoreError::TooMany { max: 1000, .. })), "{many:?}");
            assert!(off(600, 100).await.expect("twin").is_ok());
            let long = off(600, 110).await;
            assert!(matches!(long, Err(StoreError::TooLong { .. })), "{long:?}");
            let kept = store.profile(slug("work")).await.expect("it is there").settings;
            assert_eq!(kept.servers["notes"].disabled_tools.len(), 600, "what was refused is not said");
        })
        .await;
    }
}
