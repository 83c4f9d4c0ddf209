-- Who there is. The id never changes and is never given again: it is part of what every secret is sealed for.
CREATE TABLE users (
    id            TEXT PRIMARY KEY,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    email         TEXT,
    display_name  TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('user', 'auditor', 'admin')),
    created_at    INTEGER NOT NULL,
    last_login_at INTEGER,
    disabled_at   INTEGER,
    UNIQUE (issuer, subject)
);

-- The person at this machine, and whoever else owns something already.
INSERT INTO users (id, issuer, subject, display_name, role, created_at)
    VALUES ('local', 'local', 'local', 'local', 'admin', 0);
INSERT INTO users (id, issuer, subject, display_name, role, created_at)
    SELECT owner, 'local', owner, owner, 'user', 0
    FROM (SELECT owner FROM profiles UNION SELECT owner FROM secrets) AS owners
    WHERE owner <> 'local';

-- What there is belongs to somebody from now on. SQLite adds no constraint to a table, so each is made anew.
CREATE TABLE new_profiles (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    slug        TEXT NOT NULL UNIQUE,
    owner       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL
);
INSERT INTO new_profiles SELECT id, slug, owner, created_at FROM profiles;
-- An id that was given once is not given again.
DELETE FROM sqlite_sequence WHERE name = 'new_profiles';
INSERT INTO sqlite_sequence (name, seq) SELECT 'new_profiles', seq FROM sqlite_sequence WHERE name = 'profiles';

CREATE TABLE new_profile_servers (
    profile_id  INTEGER NOT NULL REFERENCES new_profiles (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    PRIMARY KEY (profile_id, server)
);
INSERT INTO new_profile_servers SELECT profile_id, server FROM profile_servers;

CREATE TABLE new_tokens (
    hash        TEXT PRIMARY KEY,
    profile_id  INTEGER NOT NULL REFERENCES new_profiles (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL
);
INSERT INTO new_tokens SELECT hash, profile_id, created_at FROM tokens;

CREATE TABLE new_secrets (
    owner       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    policy      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    sealed      BLOB NOT NULL,
    PRIMARY KEY (owner, server, name)
);
INSERT INTO new_secrets SELECT owner, server, name, version, policy, created_at, sealed FROM secrets;

DROP TABLE profile_servers;
DROP TABLE tokens;
DROP TABLE profiles;
DROP TABLE secrets;
ALTER TABLE new_profiles RENAME TO profiles;
ALTER TABLE new_profile_servers RENAME TO profile_servers;
ALTER TABLE new_tokens RENAME TO tokens;
ALTER TABLE new_secrets RENAME TO secrets;

-- Every declaration of a server that was ever in force, also of those that were removed. A revision is never given again,
-- not even to another server.
CREATE TABLE policies (
    revision    INTEGER PRIMARY KEY AUTOINCREMENT,
    server      TEXT NOT NULL,
    spec        TEXT NOT NULL,
    created_at  INTEGER NOT NULL
);
CREATE INDEX policies_by_server ON policies (server);
-- What was a revision before is none now.
INSERT INTO sqlite_sequence (name, seq) SELECT 'policies', coalesce(max(revision), 0) FROM servers;
INSERT INTO policies (server, spec, created_at) SELECT name, spec, created_at FROM servers ORDER BY name;
UPDATE servers SET revision = (SELECT policies.revision FROM policies WHERE policies.server = servers.name);

-- Which declaration of a server somebody has agreed to: their profiles may use no other.
CREATE TABLE consents (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    revision    INTEGER NOT NULL REFERENCES policies (revision),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, server)
);
INSERT INTO consents
    SELECT DISTINCT profiles.owner, servers.name, servers.revision, servers.created_at
    FROM profiles
    JOIN profile_servers ON profile_servers.profile_id = profiles.id
    JOIN servers ON servers.name = profile_servers.server;

-- What a server's manifest said when it was installed from an index.
CREATE TABLE manifests (
    server        TEXT PRIMARY KEY REFERENCES servers (name) ON DELETE CASCADE,
    version       TEXT NOT NULL,
    digest        TEXT NOT NULL,
    tier          TEXT NOT NULL,
    manifest      TEXT NOT NULL,
    manifest_hash TEXT NOT NULL,
    installed_at  INTEGER NOT NULL
);

CREATE TABLE user_installs (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (user_id, server)
);

CREATE TABLE user_disabled_tools (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    tool        TEXT NOT NULL,
    PRIMARY KEY (user_id, server, tool)
);

-- Definitions as they were when somebody agreed to them; a changed one is held back.
CREATE TABLE pins (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    kind        TEXT NOT NULL CHECK (kind IN ('tool', 'prompt', 'resource', 'template', 'instructions')),
    name        TEXT NOT NULL,
    hash        TEXT NOT NULL,
    definition  TEXT NOT NULL,
    pinned_at   INTEGER NOT NULL,
    PRIMARY KEY (user_id, server, kind, name)
);

-- Every sandbox that was started.
CREATE TABLE instances (
    id          TEXT PRIMARY KEY,
    owner       TEXT NOT NULL,
    profile     TEXT NOT NULL,
    server      TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    started_at  INTEGER NOT NULL,
    -- Not known when the gateway was killed.
    ended_at    INTEGER
);
CREATE INDEX instances_by_time ON instances (started_at);

CREATE TABLE sessions (
    token_hash    TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    viewed_id     TEXT REFERENCES users (id) ON DELETE CASCADE,
    viewed_until  INTEGER
);

CREATE TABLE api_keys (
    hash          TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name          TEXT NOT NULL,
    scopes        TEXT NOT NULL,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER,
    last_used_at  INTEGER,
    UNIQUE (user_id, name)
);

-- OAuth: what vendors are told of us, and what they have given to somebody. Sealed as every secret is.
CREATE TABLE auth_configs (
    vendor         TEXT PRIMARY KEY,
    authorize_url  TEXT NOT NULL,
    token_url      TEXT NOT NULL,
    client_id      TEXT NOT NULL,
    client_secret  BLOB,
    scopes         TEXT NOT NULL,
    created_at     INTEGER NOT NULL
);

CREATE TABLE connected_accounts (
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    vendor         TEXT NOT NULL REFERENCES auth_configs (vendor) ON DELETE CASCADE,
    refresh_token  BLOB,
    access_token   BLOB,
    expires_at     INTEGER,
    scopes         TEXT NOT NULL,
    created_at     INTEGER NOT NULL,
    PRIMARY KEY (user_id, vendor)
);
