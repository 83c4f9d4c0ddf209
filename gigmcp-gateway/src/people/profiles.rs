//! What is in profiles, and what is said of them.

use super::{
    Access, Actor, ApiScope, Area, Deed, People, PeopleError, Role, Rule,
    record::{self, Kind},
};
use crate::{
    output::harmless,
    spec::{MemberSettings, ProfileSettings, ProfileSlug, ServerName},
    store::{AuditRow, Joins, Profile},
};

pub(crate) const READ: Rule =
    Rule::new(Access::OwnOr(Role::Auditor), Deed::Read).with_scope(ApiScope::read(Area::Profiles));
/// What is in a profile gets its owner's credentials, so only the owner agrees to it, and not a program of theirs.
pub(crate) const AGREE: Rule = Rule::new(Access::Own, Deed::Use);
pub(crate) const CHANGE: Rule = Rule::new(Access::Own, Deed::Change).with_scope(ApiScope::write(Area::Profiles));
/// Whoever may only take away what others have.
pub(crate) const TAKE: Rule =
    Rule::new(Access::OwnOr(Role::Admin), Deed::Change).with_scope(ApiScope::write(Area::Profiles));

impl People {
    /// What it takes to put a server into these profiles of one's own.
    pub(crate) async fn joins(
        &self,
        actor: &Actor,
        profiles: Vec<ProfileSlug>,
        server: &ServerName,
    ) -> Result<Vec<Joins>, PeopleError> {
        let mut joins = Vec::new();
        for slug in profiles {
            let profile = self.profile_to(actor, &slug, &AGREE).await?;
            let row = AuditRow {
                server: server.to_string(),
                ..told(actor, &profile, &format!("put {server} into {}", profile.slug))
            };
            joins.push(Joins { profile: profile.slug, row });
        }
        Ok(joins)
    }

    /// Puts a server into a profile, or agrees to it anew. With `seen`, only if that is its revision still.
    pub(crate) async fn put_server(
        &self,
        actor: &Actor,
        slug: &ProfileSlug,
        server: &ServerName,
        seen: Option<i64>,
    ) -> Result<(), PeopleError> {
        let profile = self.profile_to(actor, slug, &AGREE).await?;
        let row = told(actor, &profile, &format!("put {server} into {slug}"));
        let row = AuditRow { server: server.to_string(), ..row };
        Ok(self.store.put_member(&profile, server.clone(), seen, actor.does(row)).await?)
    }

    /// Takes a server out of a profile.
    pub(crate) async fn take_server(
        &self,
        actor: &Actor,
        slug: &ProfileSlug,
        server: &ServerName,
    ) -> Result<(), PeopleError> {
        let profile = self.profile_to(actor, slug, &TAKE).await?;
        let row = told(actor, &profile, &format!("took {server} out of {slug}"));
        let row = AuditRow { server: server.to_string(), ..row };
        Ok(self.store.drop_member(&profile, server.clone(), actor.does(row)).await?)
    }

    /// Says something of a profile, or of servers in it, by name: all of it or nothing. Without a value, the default holds again.
    pub(crate) async fn say(
        &self,
        actor: &Actor,
        slug: &ProfileSlug,
        said: Vec<(Option<ServerName>, String, Option<String>)>,
    ) -> Result<ProfileSettings, PeopleError> {
        let profile = self.profile_to(actor, slug, &CHANGE).await?;
        let names = said.iter().map(|(server, name, _)| match server {
            Some(server) => format!("{server}.{name}"),
            None => name.clone(),
        });
        let row = told(actor, &profile, &format!("said {} of {slug}", names.collect::<Vec<_>>().join(", ")));
        let of = said.iter().filter_map(|(server, ..)| server.clone()).collect();
        let edit = move |settings: &mut ProfileSettings| {
            said.iter().try_for_each(|(server, name, value)| settings.set(server.as_ref(), name, value.as_deref()))
        };
        Ok(self.store.edit_settings(&profile, of, edit, actor.does(row)).await??)
    }

    /// Switches a tool of a server, by the server's own name for it, on or off in a profile.
    pub(crate) async fn switch_tool(
        &self,
        actor: &Actor,
        slug: &ProfileSlug,
        server: &ServerName,
        tool: &str,
        enabled: bool,
    ) -> Result<(), PeopleError> {
        let profile = self.profile_to(actor, slug, &CHANGE).await?;
        let switched = if enabled { "on" } else { "off" };
        let row = told(actor, &profile, &format!("switched {switched} {server}/{tool} in {slug}"));
        let row = AuditRow { server: server.to_string(), ..row };
        let (of, tool) = (server.to_string(), tool.to_owned());
        let edit = move |settings: &mut ProfileSettings| {
            let member = settings.servers.entry(of).or_default();
            match enabled {
                true => drop(member.disabled_tools.remove(&tool)),
                false => drop(member.disabled_tools.insert(tool)),
            }
            settings.servers.retain(|_, said| *said != MemberSettings::default());
            Ok(())
        };
        self.store.edit_settings(&profile, vec![server.clone()], edit, actor.does(row)).await??;
        Ok(())
    }

    /// Deletes a profile and its tokens.
    pub(crate) async fn delete_profile(&self, actor: &Actor, slug: &ProfileSlug) -> Result<(), PeopleError> {
        let profile = self.profile_to(actor, slug, &TAKE).await?;
        let row = told(actor, &profile, &format!("deleted {slug}"));
        Ok(self.store.drop_profile(&profile, actor.does(row)).await?)
    }

    /// The profile, if this may be done to it by whoever asks.
    pub(crate) async fn profile_to(
        &self,
        actor: &Actor,
        slug: &ProfileSlug,
        rule: &Rule,
    ) -> Result<Profile, PeopleError> {
        let profile = self.store.profile(slug.clone()).await?;
        actor.may(rule, Some(&profile.owner))?;
        Ok(profile)
    }
}

fn told(actor: &Actor, profile: &Profile, what: &str) -> AuditRow {
    let row = record::done(Kind::Profile, &profile.owner, harmless(what), actor);
    AuditRow { profile: profile.slug.to_string(), ..row }
}
