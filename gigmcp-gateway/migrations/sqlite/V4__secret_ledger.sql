-- One row, sealed by the vault: which secrets there are, and which version of each is the newest. It is left empty here: who
-- upgrades says that the secrets are as they should be (`gigmcp-gateway secret accept`), because a database cannot tell
-- whether it comes from an older version or was made to look so.
CREATE TABLE secret_ledger (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    counter     INTEGER NOT NULL,
    sealed      BLOB NOT NULL
);
