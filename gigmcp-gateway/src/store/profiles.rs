//! Profiles and the servers in them.

use sea_query::{Expr, ExprTrait, Func, OnConflict, Order, Query};

use super::{
    Edition, Store, StoreError, Told,
    connection::{Connection, Row},
    now_seconds, policies,
    schema::{Consents, Holdings, ProfileServers, Profiles, Servers, Users},
    servers,
    tokens::{self, NewToken},
    users,
};
use crate::{
    spec::{Owner, ProfileSettings, ProfileSlug, ServerName},
    trail::AuditRow,
};

/// Which profile; no other id is one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ProfileId(pub(super) i64);

/// One profile with its servers.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) id: ProfileId,
    pub(crate) slug: ProfileSlug,
    pub(crate) owner: Owner,
    /// The owner's account is neither disabled nor suspended. If it is, there are no servers, and nobody is let in.
    pub(crate) active: bool,
    /// Each server that the owner has agreed to as it is, by name, and which instances of it are theirs.
    pub(crate) servers: Vec<(ServerName, Edition)>,
    /// Which of the directories that servers keep are the owner's, see [`Edition`].
    pub(crate) epoch: i64,
    pub(crate) created_at: i64,
    /// What the owner said of it.
    pub(crate) settings: ProfileSettings,
}

/// A profile that a server is put into, and what the audit is told of it.
#[derive(Clone, Debug)]
pub(crate) struct Joins {
    pub(crate) profile: ProfileSlug,
    pub(crate) row: AuditRow,
}

impl Store {
    /// Creates a profile with its first token, of which only the hash is given, if each server is of the revision that was seen.
    pub(crate) async fn create_profile_told(
        &self,
        slug: ProfileSlug,
        owner: Owner,
        members: Vec<(ServerName, Option<i64>)>,
        token_hash: String,
        told: impl Into<Told>,
    ) -> Result<(), StoreError> {
        self.change_told(told, move |connection| {
            if count_of(connection, &owner)? >= MAX_PROFILES {
                return Err(StoreError::TooMany { what: "profiles", max: MAX_PROFILES });
            }
            for (server, seen) in &members {
                let revision = servers::require(connection, server)?.revision;
                if seen.is_some_and(|seen| seen != revision) {
                    return Err(StoreError::Moved { server: server.clone() });
                }
            }
            let members: Vec<_> = members.into_iter().map(|(server, _)| server).collect();
            create(connection, &slug, &owner, &members, token_hash)
        })
        .await
    }

    /// Puts a server into more profiles, or into none of them.
    pub(crate) async fn join(&self, server: ServerName, joins: Vec<Joins>) -> Result<(), StoreError> {
        self.change(move |connection| joins.iter().try_for_each(|joins| join(connection, joins, &server))).await
    }

    /// The profile of that slug, with its servers.
    pub(crate) async fn profile(&self, slug: ProfileSlug) -> Result<Profile, StoreError> {
        self.read(move |connection| require(connection, &slug)).await
    }

    /// Each of these profiles, in one turn.
    pub(crate) async fn some_profiles(
        &self,
        slugs: Vec<ProfileSlug>,
    ) -> Result<Vec<(ProfileSlug, Result<Profile, StoreError>)>, StoreError> {
        self.read(move |connection| {
            let read = |slug: ProfileSlug| {
                let found = require(connection, &slug);
                (slug, found)
            };
            Ok(slugs.into_iter().map(read).collect())
        })
        .await
    }

    /// All profiles by slug.
    pub(crate) async fn profiles(&self) -> Result<Vec<Profile>, StoreError> {
        self.read(|connection| slugs(connection, u64::MAX >> 1)?.iter().map(|slug| require(connection, slug)).collect())
            .await
    }
}

pub(super) fn create(
    connection: &Connection,
    slug: &ProfileSlug,
    owner: &Owner,
    members: &[ServerName],
    token_hash: String,
) -> Result<(), StoreError> {
    if find(connection, slug)?.is_some() {
        return Err(StoreError::Exists { what: "profile", name: slug.to_string() });
    }
    users::require_active(connection, owner)?;
    let insert = Query::insert()
        .into_table(Profiles::Table)
        .columns([Profiles::Slug, Profiles::Owner, Profiles::CreatedAt])
        .values_panic([slug.as_str().into(), owner.as_str().into(), now_seconds().into()])
        .returning_col(Profiles::Id)
        .take();
    let id = connection.row(&insert, |row| Ok(ProfileId(row.get(0)?)))?.ok_or(StoreError::NoAnswer)?;
    for server in members {
        insert_member(connection, id, owner, server)?;
    }
    tokens::insert(connection, id, &NewToken::first(token_hash))
}

fn count_of(connection: &Connection, owner: &Owner) -> Result<u64, StoreError> {
    let count = Query::select()
        .expr(Func::count(Expr::col(Profiles::Id)))
        .from(Profiles::Table)
        .and_where(Expr::col(Profiles::Owner).eq(owner.as_str()))
        .take();
    let count: i64 = connection.row(&count, |row| Ok(row.get(0)?))?.ok_or(StoreError::NoAnswer)?;
    Ok(count.unsigned_abs())
}

/// Puts a server into a profile, and tells of it.
pub(super) fn join(connection: &Connection, joins: &Joins, server: &ServerName) -> Result<(), StoreError> {
    add_member(connection, &joins.profile, server)?;
    Told::from(joins.row.clone()).append(connection)
}

pub(super) fn add_member(connection: &Connection, slug: &ProfileSlug, server: &ServerName) -> Result<(), StoreError> {
    let profile = require(connection, slug)?;
    insert_member(connection, profile.id, &profile.owner, server)
}

/// Whoever puts a server into a profile agrees to it as it is.
fn insert_member(
    connection: &Connection,
    profile: ProfileId,
    owner: &Owner,
    server: &ServerName,
) -> Result<(), StoreError> {
    let revision = servers::require(connection, server)?.revision;
    policies::consent(connection, owner, server, revision)?;
    connection.execute(
        Query::insert()
            .into_table(ProfileServers::Table)
            .columns([ProfileServers::ProfileId, ProfileServers::Server])
            .values_panic([profile.0.into(), server.as_str().into()])
            .on_conflict(OnConflict::new().do_nothing().to_owned()),
    )?;
    Ok(())
}

pub(super) fn remove_member(connection: &Connection, profile: &Profile, server: &ServerName) -> Result<(), StoreError> {
    match connection.execute(
        Query::delete()
            .from_table(ProfileServers::Table)
            .and_where(Expr::col(ProfileServers::ProfileId).eq(profile.id.0))
            .and_where(Expr::col(ProfileServers::Server).eq(server.as_str())),
    )? {
        0 => Err(no_member(profile, server)),
        _ => Ok(()),
    }
}

pub(super) fn write_settings(connection: &Connection, profile: &Profile) -> Result<(), StoreError> {
    let text = serde_json::to_string(&profile.settings).expect("settings are JSON");
    // They are read at every call.
    if text.len() > MAX_SETTINGS_BYTES {
        return Err(StoreError::TooLong { what: "what is said of the profile", max: MAX_SETTINGS_BYTES });
    }
    if profile.settings.servers.values().any(|said| said.disabled_tools.len() as u64 > MAX_DISABLED_TOOLS) {
        return Err(StoreError::TooMany { what: "tools of the server that are switched off", max: MAX_DISABLED_TOOLS });
    }
    connection.execute(
        Query::update()
            .table(Profiles::Table)
            .value(Profiles::Settings, text)
            .and_where(Expr::col(Profiles::Id).eq(profile.id.0)),
    )?;
    Ok(())
}

pub(super) fn delete(connection: &Connection, profile: ProfileId) -> Result<(), StoreError> {
    connection
        .execute(Query::delete().from_table(Profiles::Table).and_where(Expr::col(Profiles::Id).eq(profile.0)))
        .map(drop)
        .map_err(StoreError::from)
}

pub(super) fn require_member(profile: &Profile, server: &ServerName) -> Result<(), StoreError> {
    match profile.servers.iter().any(|(name, _)| name == server) {
        true => Ok(()),
        false => Err(no_member(profile, server)),
    }
}

fn no_member(profile: &Profile, server: &ServerName) -> StoreError {
    let known = profile.servers.iter().map(|(name, _)| name.to_string()).collect();
    StoreError::Missing { what: "server in this profile called", name: server.to_string(), known }
}

/// The same, if the owner's account is not disabled.
pub(super) fn require_active(connection: &Connection, slug: &ProfileSlug) -> Result<Profile, StoreError> {
    let profile = require(connection, slug)?;
    if profile.active { Ok(profile) } else { Err(StoreError::Disabled(profile.owner)) }
}

pub(super) fn require(connection: &Connection, slug: &ProfileSlug) -> Result<Profile, StoreError> {
    match find(connection, slug)? {
        Some(profile) => Ok(profile),
        None => {
            let known = slugs(connection, KNOWN)?.iter().map(ProfileSlug::to_string).collect();
            Err(StoreError::Missing { what: "profile", name: slug.to_string(), known })
        }
    }
}

fn find(connection: &Connection, slug: &ProfileSlug) -> Result<Option<Profile>, StoreError> {
    let select = Query::select()
        .columns(
            [Profiles::Id, Profiles::Owner, Profiles::CreatedAt, Profiles::Settings].map(|of| (Profiles::Table, of)),
        )
        .columns([Users::DisabledAt, Users::Epoch, Users::SuspendedAt].map(|of| (Users::Table, of)))
        .from(Profiles::Table)
        .inner_join(Users::Table, Expr::col((Profiles::Table, Profiles::Owner)).equals((Users::Table, Users::Id)))
        .and_where(Expr::col(Profiles::Slug).eq(slug.as_str()))
        .take();
    let found = connection.row(&select, |row| {
        let owner = row.get::<String>(1)?.parse();
        let owner = owner.map_err(|_| StoreError::Corrupt { what: "owner of profile", name: slug.to_string() })?;
        let settings = serde_json::from_str(&row.get::<String>(3)?);
        let settings =
            settings.map_err(|_| StoreError::Corrupt { what: "settings of profile", name: slug.to_string() })?;
        Ok(Profile {
            id: ProfileId(row.get(0)?),
            slug: slug.clone(),
            owner,
            active: row.get::<Option<i64>>(4)?.is_none() && row.get::<Option<i64>>(6)?.is_none(),
            servers: Vec::new(),
            epoch: row.get(5)?,
            created_at: row.get(2)?,
            settings,
        })
    })?;
    found.map(|profile| Ok(Profile { servers: members(connection, &profile)?, ..profile })).transpose()
}

fn members(connection: &Connection, profile: &Profile) -> Result<Vec<(ServerName, Edition)>, StoreError> {
    if !profile.active {
        return Ok(Vec::new());
    }
    let select = Query::select()
        .column((Servers::Table, Servers::Name))
        .column((Servers::Table, Servers::Revision))
        .column((Holdings::Table, Holdings::Generation))
        .from(ProfileServers::Table)
        .inner_join(
            Servers::Table,
            Expr::col((ProfileServers::Table, ProfileServers::Server)).equals((Servers::Table, Servers::Name)),
        )
        .inner_join(
            Consents::Table,
            Expr::col((Consents::Table, Consents::Server))
                .equals((Servers::Table, Servers::Name))
                .and(Expr::col((Consents::Table, Consents::Revision)).equals((Servers::Table, Servers::Revision))),
        )
        .left_join(
            Holdings::Table,
            Expr::col((Holdings::Table, Holdings::Server))
                .equals((Servers::Table, Servers::Name))
                .and(Expr::col((Holdings::Table, Holdings::Owner)).eq(profile.owner.as_str())),
        )
        .and_where(Expr::col((ProfileServers::Table, ProfileServers::ProfileId)).eq(profile.id.0))
        .and_where(Expr::col((Consents::Table, Consents::UserId)).eq(profile.owner.as_str()))
        .order_by((Servers::Table, Servers::Name), Order::Asc)
        .take();
    connection.rows(&select, |row| {
        let name: String = row.get(0)?;
        let name = name.parse().map_err(|_| StoreError::Corrupt { what: "server", name })?;
        let generation = row.get::<Option<i64>>(2)?.unwrap_or_default();
        Ok((name, Edition { revision: row.get(1)?, generation, epoch: profile.epoch }))
    })
}

fn slugs(connection: &Connection, limit: u64) -> Result<Vec<ProfileSlug>, StoreError> {
    let select = Query::select()
        .column(Profiles::Slug)
        .from(Profiles::Table)
        .order_by(Profiles::Slug, Order::Asc)
        .limit(limit)
        .take();
    connection.rows(&select, |row| parse_slug(row, 0))
}

pub(super) fn parse_slug(row: &Row<'_>, column: usize) -> Result<ProfileSlug, StoreError> {
    let slug: String = row.get(column)?;
    slug.parse().map_err(|_| StoreError::Corrupt { what: "profile", name: slug })
}

/// Of one owner: each that was called is followed once a second.
const MAX_PROFILES: u64 = 100;
/// As JSON.
const MAX_SETTINGS_BYTES: usize = 64 << 10;
/// Of one server in one profile.
const MAX_DISABLED_TOOLS: u64 = 1000;
/// How many names somebody is told who misspelled one.
const KNOWN: u64 = 20;
