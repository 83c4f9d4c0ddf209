CREATE TABLE servers (
    name        TEXT PRIMARY KEY,
    spec        TEXT NOT NULL,
    revision    INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
);

CREATE TABLE profiles (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    slug        TEXT NOT NULL UNIQUE,
    owner       TEXT NOT NULL,
    created_at  INTEGER NOT NULL
);

CREATE TABLE profile_servers (
    profile_id  INTEGER NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    PRIMARY KEY (profile_id, server)
);

CREATE TABLE tokens (
    hash        TEXT PRIMARY KEY,
    profile_id  INTEGER NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
    created_at  INTEGER NOT NULL
);

CREATE TABLE secrets (
    owner       TEXT NOT NULL,
    server      TEXT NOT NULL,
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL,
    policy      TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    sealed      BLOB NOT NULL,
    PRIMARY KEY (owner, server, name)
);

CREATE TABLE audit (
    id          INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms       INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    profile     TEXT NOT NULL,
    server      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    subject     TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    status      INTEGER,
    credentials TEXT NOT NULL,
    bytes_up    INTEGER NOT NULL,
    bytes_down  INTEGER NOT NULL,
    duration_us INTEGER NOT NULL,
    alarm       INTEGER NOT NULL
);

CREATE INDEX audit_by_time ON audit (at_ms);
