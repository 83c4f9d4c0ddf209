-- Who somebody is to a provider that people sign in by.
CREATE TABLE identities (
    issuer         TEXT NOT NULL,
    subject        TEXT NOT NULL,
    user_id        TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at     INTEGER NOT NULL,
    last_login_at  INTEGER NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- What of a session is the provider's. What it gave is sealed for the browser that the session is of.
CREATE TABLE provider_sessions (
    token_hash    TEXT PRIMARY KEY REFERENCES sessions (token_hash) ON DELETE CASCADE ON UPDATE CASCADE,
    issuer        TEXT NOT NULL,
    subject       TEXT NOT NULL,
    sid           TEXT,
    sealed        BLOB NOT NULL,
    -- Of sessions without a refresh token, none.
    confirmed_at  INTEGER,
    tried_at      INTEGER NOT NULL
);
CREATE INDEX provider_sessions_by_subject ON provider_sessions (issuer, subject);
CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid);

-- Sign-ins under way that add an identity to the account of somebody who is signed in.
CREATE TABLE identity_links (
    state_hash    TEXT PRIMARY KEY,
    session_hash  TEXT NOT NULL REFERENCES sessions (token_hash) ON DELETE CASCADE ON UPDATE CASCADE,
    expires_at    INTEGER NOT NULL
);

-- What was taken once and is not taken again: states of sign-ins, and names of logout tokens.
CREATE TABLE taken_once (
    hash        TEXT PRIMARY KEY,
    expires_at  INTEGER NOT NULL
);
