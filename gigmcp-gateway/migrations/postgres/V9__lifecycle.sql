-- What a server listed when it ran last, for each owner, so that lists need no process.
CREATE TABLE catalogues (
    owner     TEXT COLLATE "C" NOT NULL,
    server    TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    -- Of another revision it says nothing.
    revision  BIGINT NOT NULL,
    -- JSON.
    known     TEXT NOT NULL,
    read_at   BIGINT NOT NULL,
    PRIMARY KEY (owner, server)
);

-- What was found out about a server's program by running it.
CREATE TABLE programs (
    server       TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    -- Of what is run, and how.
    digest       TEXT COLLATE "C" NOT NULL,
    -- `legacy` or `modern`: the first message that its processes get.
    era          TEXT,
    -- 1 if it was seen to ask its clients something: its calls go one at a time.
    interactive  BIGINT NOT NULL,
    found_at     BIGINT NOT NULL,
    PRIMARY KEY (server, digest)
);
