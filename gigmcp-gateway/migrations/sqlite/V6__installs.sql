-- What an index said of a server, for each revision that came from one: so that a revision before can be gone back to. Nothing was
-- ever written to the table of this name.
DROP TABLE manifests;
CREATE TABLE manifests (
    revision      INTEGER PRIMARY KEY REFERENCES policies (revision),
    server        TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    version       TEXT NOT NULL,
    digest        TEXT NOT NULL,
    tier          TEXT NOT NULL,
    manifest      TEXT NOT NULL,
    manifest_hash TEXT NOT NULL,
    -- The revision in whose place it came.
    replaces      INTEGER REFERENCES policies (revision),
    installed_at  INTEGER NOT NULL
);
CREATE INDEX manifests_by_server ON manifests (server);

-- What came from an index is signed when somebody agrees to it, so that nothing else can be put in its place.
ALTER TABLE policies ADD COLUMN signer TEXT;
ALTER TABLE policies ADD COLUMN signature BLOB;
