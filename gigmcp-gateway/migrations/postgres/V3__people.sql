-- Who there is. The id never changes and is never given again: it is part of what every secret is sealed for.
CREATE TABLE users (
    id            TEXT COLLATE "C" PRIMARY KEY,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    email         TEXT,
    display_name  TEXT NOT NULL,
    role          TEXT NOT NULL CHECK (role IN ('user', 'auditor', 'admin')),
    created_at    BIGINT NOT NULL,
    last_login_at BIGINT,
    disabled_at   BIGINT,
    UNIQUE (issuer, subject)
);

-- The person at this machine, and whoever else owns something already.
INSERT INTO users (id, issuer, subject, display_name, role, created_at)
    VALUES ('local', 'local', 'local', 'local', 'admin', 0);
INSERT INTO users (id, issuer, subject, display_name, role, created_at)
    SELECT owner, 'local', owner, owner, 'user', 0
    FROM (SELECT owner FROM profiles UNION SELECT owner FROM secrets) AS owners
    WHERE owner <> 'local';

-- What there is belongs to somebody from now on.
ALTER TABLE profiles ALTER COLUMN owner TYPE TEXT COLLATE "C";
ALTER TABLE profiles ADD FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE secrets ADD FOREIGN KEY (owner) REFERENCES users (id) ON DELETE CASCADE;

-- Every declaration of a server that was ever in force, also of those that were removed. A revision is never given again,
-- not even to another server.
CREATE TABLE policies (
    revision    BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    server      TEXT COLLATE "C" NOT NULL,
    spec        TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE INDEX policies_by_server ON policies (server);
-- What was a revision before is none now.
SELECT setval(pg_get_serial_sequence('policies', 'revision'), greatest(1, (SELECT coalesce(max(revision), 0) FROM servers)));
INSERT INTO policies (server, spec, created_at) SELECT name, spec, created_at FROM servers ORDER BY name;
UPDATE servers SET revision = (SELECT policies.revision FROM policies WHERE policies.server = servers.name);

-- Which declaration of a server somebody has agreed to: their profiles may use no other.
CREATE TABLE consents (
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    revision    BIGINT NOT NULL REFERENCES policies (revision),
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, server)
);
INSERT INTO consents
    SELECT DISTINCT profiles.owner, servers.name, servers.revision, servers.created_at
    FROM profiles
    JOIN profile_servers ON profile_servers.profile_id = profiles.id
    JOIN servers ON servers.name = profile_servers.server;

-- What a server's manifest said when it was installed from an index.
CREATE TABLE manifests (
    server        TEXT COLLATE "C" PRIMARY KEY REFERENCES servers (name) ON DELETE CASCADE,
    version       TEXT NOT NULL,
    digest        TEXT NOT NULL,
    tier          TEXT NOT NULL,
    manifest      TEXT NOT NULL,
    manifest_hash TEXT NOT NULL,
    installed_at  BIGINT NOT NULL
);

CREATE TABLE user_installs (
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (user_id, server)
);

CREATE TABLE user_disabled_tools (
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    tool        TEXT COLLATE "C" NOT NULL,
    PRIMARY KEY (user_id, server, tool)
);

-- Definitions as they were when somebody agreed to them; a changed one is held back.
CREATE TABLE pins (
    user_id     TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    kind        TEXT COLLATE "C" NOT NULL CHECK (kind IN ('tool', 'prompt', 'resource', 'template', 'instructions')),
    name        TEXT COLLATE "C" NOT NULL,
    hash        TEXT NOT NULL,
    definition  TEXT NOT NULL,
    pinned_at   BIGINT NOT NULL,
    PRIMARY KEY (user_id, server, kind, name)
);

-- Every sandbox that was started.
CREATE TABLE instances (
    id          TEXT COLLATE "C" PRIMARY KEY,
    owner       TEXT COLLATE "C" NOT NULL,
    profile     TEXT COLLATE "C" NOT NULL,
    server      TEXT COLLATE "C" NOT NULL,
    revision    BIGINT NOT NULL,
    started_at  BIGINT NOT NULL,
    -- Not known when the gateway was killed.
    ended_at    BIGINT
);
CREATE INDEX instances_by_time ON instances (started_at);

CREATE TABLE sessions (
    token_hash    TEXT PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    viewed_id     TEXT REFERENCES users (id) ON DELETE CASCADE,
    viewed_until  BIGINT
);

CREATE TABLE api_keys (
    hash          TEXT PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    name          TEXT COLLATE "C" NOT NULL,
    scopes        TEXT NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT,
    last_used_at  BIGINT,
    UNIQUE (user_id, name)
);

-- OAuth: what vendors are told of us, and what they have given to somebody. Sealed as every secret is.
CREATE TABLE auth_configs (
    vendor         TEXT COLLATE "C" PRIMARY KEY,
    authorize_url  TEXT NOT NULL,
    token_url      TEXT NOT NULL,
    client_id      TEXT NOT NULL,
    client_secret  BYTEA,
    scopes         TEXT NOT NULL,
    created_at     BIGINT NOT NULL
);

CREATE TABLE connected_accounts (
    user_id        TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    vendor         TEXT COLLATE "C" NOT NULL REFERENCES auth_configs (vendor) ON DELETE CASCADE,
    refresh_token  BYTEA,
    access_token   BYTEA,
    expires_at     BIGINT,
    scopes         TEXT NOT NULL,
    created_at     BIGINT NOT NULL,
    PRIMARY KEY (user_id, vendor)
);
