//! Profiles, the servers in them, and their tokens.

use sea_query::{Expr, ExprTrait, OnConflict, Order, Query};

use super::{
    Store, StoreError,
    connection::{Connection, Row},
    now_seconds, policies,
    schema::{Consents, ProfileServers, Profiles, Servers, Tokens},
    servers,
};
use crate::spec::{InvalidProfileSetting, Owner, ProfileSettings, ProfileSlug, ServerName};

/// Which profile; no other id is one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) struct ProfileId(i64);

/// One profile with its servers.
#[derive(Clone, Debug)]
pub(crate) struct Profile {
    pub(crate) id: ProfileId,
    pub(crate) slug: ProfileSlug,
    pub(crate) owner: Owner,
    /// Name and revision of each server that the owner has agreed to as it is, by name.
    pub(crate) servers: Vec<(ServerName, i64)>,
    pub(crate) created_at: i64,
    /// What the owner said of it.
    pub(crate) settings: ProfileSettings,
}

/// What a token opens.
#[derive(Clone, Debug)]
pub(crate) struct TokenOwner {
    pub(crate) profile: Profile,
    /// The stored hash, for a comparison in constant time.
    pub(crate) hash: String,
}

impl Store {
    /// Creates a profile with its first token, of which only the hash is given.
    pub(crate) async fn create_profile(
        &self,
        slug: ProfileSlug,
        owner: Owner,
        members: Vec<ServerName>,
        token_hash: String,
    ) -> Result<(), StoreError> {
        self.change(move |connection| {
            if find(connection, &slug)?.is_some() {
                return Err(StoreError::Exists { what: "profile", name: slug.to_string() });
            }
            let insert = Query::insert()
                .into_table(Profiles::Table)
                .columns([Profiles::Slug, Profiles::Owner, Profiles::CreatedAt])
                .values_panic([slug.as_str().into(), owner.as_str().into(), now_seconds().into()])
                .returning_col(Profiles::Id)
                .take();
            let id = connection.row(&insert, |row| Ok(ProfileId(row.get(0)?)))?.ok_or(StoreError::NoAnswer)?;
            for server in &members {
                insert_member(connection, id, &owner, server)?;
            }
            insert_token(connection, id, &token_hash)
        })
        .await
    }

    /// Puts one more server into a profile; one that is there already stays.
    pub(crate) async fn add_to_profile(&self, slug: ProfileSlug, server: ServerName) -> Result<(), StoreError> {
        self.change(move |connection| add_member(connection, &slug, &server)).await
    }

    /// Takes a server out of a profile.
    pub(crate) async fn remove_from_profile(&self, slug: ProfileSlug, server: ServerName) -> Result<(), StoreError> {
        self.change(move |connection| {
            let profile = require(connection, &slug)?;
            match connection.execute(
                Query::delete()
                    .from_table(ProfileServers::Table)
                    .and_where(Expr::col(ProfileServers::ProfileId).eq(profile.id.0))
                    .and_where(Expr::col(ProfileServers::Server).eq(server.as_str())),
            )? {
                0 => Err(no_member(&profile, &server)),
                _ => Ok(()),
            }
        })
        .await
    }

    /// Says something of a profile, or of one server in it; without a value, the default holds again.
    pub(crate) async fn set_of_profile(
        &self,
        slug: ProfileSlug,
        server: Option<ServerName>,
        name: String,
        value: Option<String>,
    ) -> Result<Result<ProfileSettings, InvalidProfileSetting>, StoreError> {
        self.change(move |connection| {
            let mut profile = require(connection, &slug)?;
            if let Some(server) = &server {
                require_member(&profile, server)?;
            }
            if let Err(invalid) = profile.settings.set(server.as_ref(), &name, value.as_deref()) {
                return Ok(Err(invalid));
            }
            let text = serde_json::to_string(&profile.settings).expect("settings are JSON");
            connection.execute(
                Query::update()
                    .table(Profiles::Table)
                    .value(Profiles::Settings, text)
                    .and_where(Expr::col(Profiles::Id).eq(profile.id.0)),
            )?;
            Ok(Ok(profile.settings))
        })
        .await
    }

    /// Deletes a profile and its tokens.
    pub(crate) async fn delete_profile(&self, slug: ProfileSlug) -> Result<(), StoreError> {
        self.change(move |connection| {
            let profile = require(connection, &slug)?;
            connection.execute(
                Query::delete().from_table(Profiles::Table).and_where(Expr::col(Profiles::Id).eq(profile.id.0)),
            )?;
            Ok(())
        })
        .await
    }

    /// Replaces a profile's token; the old one stops working at once.
    pub(crate) async fn replace_token(&self, slug: ProfileSlug, token_hash: String) -> Result<(), StoreError> {
        self.change(move |connection| {
            let profile = require(connection, &slug)?;
            connection.execute(
                Query::delete().from_table(Tokens::Table).and_where(Expr::col(Tokens::ProfileId).eq(profile.id.0)),
            )?;
            insert_token(connection, profile.id, &token_hash)
        })
        .await
    }

    /// The profile of that slug, with its servers.
    pub(crate) async fn profile(&self, slug: ProfileSlug) -> Result<Profile, StoreError> {
        self.read(move |connection| require(connection, &slug)).await
    }

    /// All profiles by slug.
    pub(crate) async fn profiles(&self) -> Result<Vec<Profile>, StoreError> {
        self.read(|connection| slugs(connection)?.iter().map(|slug| require(connection, slug)).collect()).await
    }

    /// Which profile a token opens, by the token's hash.
    pub(crate) async fn token_owner(&self, token_hash: String) -> Result<Option<TokenOwner>, StoreError> {
        self.read(move |connection| {
            let select = Query::select()
                .column((Profiles::Table, Profiles::Slug))
                .column((Tokens::Table, Tokens::Hash))
                .from(Tokens::Table)
                .inner_join(
                    Profiles::Table,
                    Expr::col((Tokens::Table, Tokens::ProfileId)).equals((Profiles::Table, Profiles::Id)),
                )
                .and_where(Expr::col((Tokens::Table, Tokens::Hash)).eq(token_hash))
                .take();
            let found = connection.row(&select, |row| Ok((parse_slug(row)?, row.get(1)?)))?;
            found.map(|(slug, hash)| Ok(TokenOwner { profile: require(connection, &slug)?, hash })).transpose()
        })
        .await
    }
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

fn require_member(profile: &Profile, server: &ServerName) -> Result<(), StoreError> {
    match profile.servers.iter().any(|(name, _)| name == server) {
        true => Ok(()),
        false => Err(no_member(profile, server)),
    }
}

fn no_member(profile: &Profile, server: &ServerName) -> StoreError {
    let known = profile.servers.iter().map(|(name, _)| name.to_string()).collect();
    StoreError::Missing { what: "server in the profile", name: server.to_string(), known }
}

fn insert_token(connection: &Connection, profile: ProfileId, hash: &str) -> Result<(), StoreError> {
    connection.execute(
        Query::insert()
            .into_table(Tokens::Table)
            .columns([Tokens::Hash, Tokens::ProfileId, Tokens::CreatedAt])
            .values_panic([hash.into(), profile.0.into(), now_seconds().into()]),
    )?;
    Ok(())
}

fn require(connection: &Connection, slug: &ProfileSlug) -> Result<Profile, StoreError> {
    match find(connection, slug)? {
        Some(profile) => Ok(profile),
        None => {
            let known = slugs(connection)?.iter().map(ProfileSlug::to_string).collect();
            Err(StoreError::Missing { what: "profile", name: slug.to_string(), known })
        }
    }
}

fn find(connection: &Connection, slug: &ProfileSlug) -> Result<Option<Profile>, StoreError> {
    let select = Query::select()
        .columns([Profiles::Id, Profiles::Owner, Profiles::CreatedAt, Profiles::Settings])
        .from(Profiles::Table)
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
            servers: Vec::new(),
            created_at: row.get(2)?,
            settings,
        })
    })?;
    found.map(|profile| Ok(Profile { servers: members(connection, &profile)?, ..profile })).transpose()
}

fn members(connection: &Connection, profile: &Profile) -> Result<Vec<(ServerName, i64)>, StoreError> {
    let select = Query::select()
        .column((Servers::Table, Servers::Name))
        .column((Servers::Table, Servers::Revision))
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
        .and_where(Expr::col((ProfileServers::Table, ProfileServers::ProfileId)).eq(profile.id.0))
        .and_where(Expr::col((Consents::Table, Consents::UserId)).eq(profile.owner.as_str()))
        .order_by((Servers::Table, Servers::Name), Order::Asc)
        .take();
    connection.rows(&select, |row| {
        let name: String = row.get(0)?;
        let name = name.parse().map_err(|_| StoreError::Corrupt { what: "server", name })?;
        Ok((name, row.get(1)?))
    })
}

fn slugs(connection: &Connection) -> Result<Vec<ProfileSlug>, StoreError> {
    let select =
        Query::select().column(Profiles::Slug).from(Profiles::Table).order_by(Profiles::Slug, Order::Asc).take();
    connection.rows(&select, parse_slug)
}

fn parse_slug(row: &Row<'_>) -> Result<ProfileSlug, StoreError> {
    let slug: String = row.get(0)?;
    slug.parse().map_err(|_| StoreError::Corrupt { what: "profile", name: slug })
}
