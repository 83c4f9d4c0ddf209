-- What joins a tool call, the requests of its server and the uses of credentials.
ALTER TABLE audit ADD COLUMN calls TEXT;
ALTER TABLE audit ADD COLUMN request TEXT;
-- Of the row before and of this one; rows from before the chain have none. From now on the id is the place in the chain, and
-- the program gives it.
ALTER TABLE audit ADD COLUMN hash BLOB;

-- Rows go in the order of the chain, and are looked for in that order.
DROP INDEX audit_by_time;

-- Signed: where the chain begins, how far it reached, and up to where it was deleted.
CREATE TABLE audit_heads (
    kind        TEXT NOT NULL,
    place       INTEGER NOT NULL,
    hash        BLOB NOT NULL,
    at_ms       INTEGER NOT NULL,
    signer      TEXT NOT NULL,
    signature   BLOB NOT NULL,
    PRIMARY KEY (kind, place)
);

-- The keys that sign: their public half, and the other as the vault sealed it.
CREATE TABLE audit_keys (
    id          TEXT PRIMARY KEY,
    created_at  INTEGER NOT NULL,
    public_key  BLOB NOT NULL,
    sealed      BLOB NOT NULL
);
