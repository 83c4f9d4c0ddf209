-- Who somebody is to a provider that people sign in by.
CREATE TABLE identities (
    issuer         TEXT COLLATE "C" NOT NULL,
    subject        TEXT COLLATE "C" NOT NULL,
    user_id        TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at     BIGINT NOT NULL,
    last_login_at  BIGINT NOT NULL,
    PRIMARY KEY (issuer, subject)
);
CREATE INDEX identities_by_user ON identities (user_id);

-- What of a session is the provider's. What it gave is sealed for the browser that the session is of.
CREATE TABLE provider_sessions (
    token_hash    TEXT PRIMARY KEY REFERENCES sessions (token_hash) ON DELETE CASCADE ON UPDATE CASCADE,
    issuer        TEXT COLLATE "C" NOT NULL,
    subject       TEXT COLLATE "C" NOT NULL,
    sid           TEXT COLLATE "C",
    sealed        BYTEA NOT NULL,
    -- Of sessions without a refresh token, none.
    confirmed_at  BIGINT,
    tried_at      BIGINT NOT NULL
);
CREATE INDEX provider_sessions_by_subject ON provider_sessions (issuer, subject);
CREATE INDEX provider_sessions_by_sid ON provider_sessions (issuer, sid);

-- Sign-ins under way that add an identity to the account of somebody who is signed in.
CREATE TABLE identity_links (
    state_hash    TEXT PRIMARY KEY,
    session_hash  TEXT NOT NULL REFERENCES sessions (token_hash) ON DELETE CASCADE ON UPDATE CASCADE,
    expires_at    BIGINT NOT NULL
);

-- What was taken once and is not taken again: states of sign-ins, and names of logout tokens.
CREATE TABLE taken_once (
    hash        TEXT PRIMARY KEY,
    expires_at  BIGINT NOT NULL
);
