-- Nothing was ever written to the table of this name.
DROP TABLE pins;

-- Whose definitions of a server are pinned, and at which revision of it: at another one, the first that are read are pinned. The
-- generation grows with each change of the pins.
CREATE TABLE pin_sets (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    revision    INTEGER NOT NULL,
    generation  INTEGER NOT NULL,
    PRIMARY KEY (user_id, server)
);

-- Definitions as they were when somebody agreed to them, as canonical JSON.
CREATE TABLE pins (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    kind        TEXT NOT NULL CHECK (kind IN ('tool', 'prompt', 'resource', 'template', 'instructions')),
    name        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    definition  TEXT NOT NULL,
    -- What was pinned in the revision before, if that was another.
    replaced    TEXT,
    pinned_at   INTEGER NOT NULL,
    PRIMARY KEY (user_id, server, kind, name)
);

-- What the server says otherwise, or more, and nobody has agreed to yet.
CREATE TABLE held_definitions (
    user_id     TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    kind        TEXT NOT NULL CHECK (kind IN ('tool', 'prompt', 'resource', 'template', 'instructions')),
    name        TEXT NOT NULL,
    digest      TEXT NOT NULL,
    definition  TEXT NOT NULL,
    held_at     INTEGER NOT NULL,
    PRIMARY KEY (user_id, server, kind, name)
);

-- Of a tool call: the digests of the tool's definition and of the arguments. Of pins: of what they are about.
ALTER TABLE audit ADD COLUMN definition TEXT;
ALTER TABLE audit ADD COLUMN arguments TEXT;
