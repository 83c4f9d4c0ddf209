-- What was asked with an `Idempotency-Key`, for a day: the same again is not done again.
CREATE TABLE idempotency_keys (
    user_id      TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    -- Empty for a session, or the name of a key of the control plane.
    via          TEXT NOT NULL,
    -- SHA-256 of what was sent.
    hash         TEXT NOT NULL,
    -- Of the request, keyed by what was sent: bodies may hold passwords.
    fingerprint  TEXT NOT NULL,
    begun_at     INTEGER NOT NULL,
    -- None while it goes on.
    status       INTEGER,
    -- JSON; none if it is shown once, or too long.
    answer       TEXT,
    PRIMARY KEY (user_id, via, hash)
);

CREATE INDEX idempotency_keys_by_time ON idempotency_keys (begun_at);
