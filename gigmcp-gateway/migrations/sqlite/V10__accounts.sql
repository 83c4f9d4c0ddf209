-- How somebody signs in: a password as argon2 writes it; since when a second factor is asked for, and the last step of time
-- whose code was taken. Its secret lies with the other secrets.
ALTER TABLE users ADD COLUMN password TEXT;
ALTER TABLE users ADD COLUMN totp_since INTEGER;
ALTER TABLE users ADD COLUMN totp_step INTEGER;
CREATE UNIQUE INDEX users_by_email ON users (email);

CREATE TABLE recovery_codes (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash        TEXT NOT NULL,
    PRIMARY KEY (user_id, hash)
);

-- Codes that work once: they make an account, or set the password of the one they name.
CREATE TABLE invitations (
    hash        TEXT PRIMARY KEY,
    kind        TEXT NOT NULL CHECK (kind IN ('setup', 'invitation', 'reset', 'replacement')),
    user_id     TEXT REFERENCES users (id) ON DELETE CASCADE,
    email       TEXT,
    role        TEXT NOT NULL CHECK (role IN ('user', 'auditor', 'admin')),
    created_by  TEXT NOT NULL,
    created_at  INTEGER NOT NULL,
    expires_at  INTEGER NOT NULL
);

-- Nothing was ever written to the table of this name.
DROP TABLE sessions;
CREATE TABLE sessions (
    token_hash    TEXT PRIMARY KEY,
    user_id       TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at    INTEGER NOT NULL,
    expires_at    INTEGER NOT NULL,
    last_seen_at  INTEGER NOT NULL,
    user_agent    TEXT NOT NULL,
    address       TEXT NOT NULL,
    viewed_id     TEXT REFERENCES users (id) ON DELETE SET NULL,
    viewed_until  INTEGER
);
CREATE INDEX sessions_by_user ON sessions (user_id);

-- Until now a profile had one token.
ALTER TABLE tokens ADD COLUMN name TEXT NOT NULL DEFAULT 'default';
ALTER TABLE tokens ADD COLUMN scope TEXT NOT NULL DEFAULT '';
ALTER TABLE tokens ADD COLUMN expires_at INTEGER;
ALTER TABLE tokens ADD COLUMN last_used_at INTEGER;
CREATE UNIQUE INDEX tokens_by_name ON tokens (profile_id, name);
