CREATE TABLE servers (
    name        TEXT COLLATE "C" PRIMARY KEY,
    spec        TEXT NOT NULL,
    revision    BIGINT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE profiles (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    slug        TEXT COLLATE "C" NOT NULL UNIQUE,
    owner       TEXT NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE profile_servers (
    profile_id  BIGINT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
    server      TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    PRIMARY KEY (profile_id, server)
);

CREATE TABLE tokens (
    hash        TEXT PRIMARY KEY,
    profile_id  BIGINT NOT NULL REFERENCES profiles (id) ON DELETE CASCADE,
    created_at  BIGINT NOT NULL
);

CREATE TABLE secrets (
    owner       TEXT COLLATE "C" NOT NULL,
    server      TEXT COLLATE "C" NOT NULL,
    name        TEXT COLLATE "C" NOT NULL,
    version     BIGINT NOT NULL,
    policy      TEXT NOT NULL,
    created_at  BIGINT NOT NULL,
    sealed      BYTEA NOT NULL,
    PRIMARY KEY (owner, server, name)
);

CREATE TABLE audit (
    id          BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at_ms       BIGINT NOT NULL,
    kind        TEXT NOT NULL,
    owner       TEXT NOT NULL,
    profile     TEXT NOT NULL,
    server      TEXT NOT NULL,
    instance    TEXT NOT NULL,
    subject     TEXT NOT NULL,
    verdict     TEXT NOT NULL,
    status      BIGINT,
    credentials TEXT NOT NULL,
    bytes_up    BIGINT NOT NULL,
    bytes_down  BIGINT NOT NULL,
    duration_us BIGINT NOT NULL,
    alarm       BIGINT NOT NULL
);

CREATE INDEX audit_by_time ON audit (at_ms);
