-- What joins a tool call, the requests of its server and the uses of credentials.
ALTER TABLE audit ADD COLUMN calls TEXT;
ALTER TABLE audit ADD COLUMN request TEXT;
-- Of the row before and of this one; rows from before the chain have none. From now on the id is the place in the chain, and
-- the program gives it.
ALTER TABLE audit ADD COLUMN hash BYTEA;
ALTER TABLE audit ALTER COLUMN id DROP IDENTITY;

-- Rows go in the order of the chain, and are looked for in that order.
DROP INDEX audit_by_time;

-- Signed: where the chain begins, how far it reached, and up to where it was deleted.
CREATE TABLE audit_heads (
    kind        TEXT COLLATE "C" NOT NULL,
    place       BIGINT NOT NULL,
    hash        BYTEA NOT NULL,
    at_ms       BIGINT NOT NULL,
    signer      TEXT NOT NULL,
    signature   BYTEA NOT NULL,
    PRIMARY KEY (kind, place)
);

-- The keys that sign: their public half, and the other as the vault sealed it.
CREATE TABLE audit_keys (
    id          TEXT PRIMARY KEY,
    created_at  BIGINT NOT NULL,
    public_key  BYTEA NOT NULL,
    sealed      BYTEA NOT NULL
);
