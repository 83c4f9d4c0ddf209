-- Since when the provider that vouched for somebody refuses them. Their keys, tokens and servers wait until they sign in again.
ALTER TABLE users ADD COLUMN suspended_at BIGINT;

-- Browsers in which somebody has signed in with a password: who guesses elsewhere does not make them wait.
CREATE TABLE devices (
    hash          TEXT PRIMARY KEY,
    user_id       TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    last_used_at  BIGINT NOT NULL
);
CREATE INDEX devices_by_user ON devices (user_id);

-- Of a sign-in that was to prove once more who is in a session: when it did.
ALTER TABLE identity_links ADD COLUMN proven_at BIGINT;
