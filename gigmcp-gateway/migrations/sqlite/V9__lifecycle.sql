-- What a server listed when it ran last, for each owner, so that lists need no process.
CREATE TABLE catalogues (
    owner     TEXT NOT NULL,
    server    TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    -- Of another revision it says nothing.
    revision  INTEGER NOT NULL,
    -- JSON.
    known     TEXT NOT NULL,
    read_at   INTEGER NOT NULL,
    PRIMARY KEY (owner, server)
);

-- What was found out about a server's program by running it.
CREATE TABLE programs (
    server       TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    -- Of what is run, and how.
    digest       TEXT NOT NULL,
    -- `legacy` or `modern`: the first message that its processes get.
    era          TEXT,
    -- 1 if it was seen to ask its clients something: its calls go one at a time.
    interactive  INTEGER NOT NULL,
    found_at     INTEGER NOT NULL,
    PRIMARY KEY (server, digest)
);
