-- What somebody's instances of a server were given to hold. Grows whenever that is set or taken away, so that those of before end;
-- one row for each, whatever is set how often.
CREATE TABLE holdings (
    owner       TEXT COLLATE "C" NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    server      TEXT COLLATE "C" NOT NULL REFERENCES servers (name) ON DELETE CASCADE,
    generation  BIGINT NOT NULL,
    PRIMARY KEY (owner, server)
);

-- Grows when all that somebody's tools run with is forgotten: nothing that runs, or was kept, from before is theirs any more.
ALTER TABLE users ADD COLUMN epoch BIGINT NOT NULL DEFAULT 0;

-- What the owner of a key was when it was made. A key is never good for more than that.
ALTER TABLE api_keys ADD COLUMN role TEXT NOT NULL DEFAULT 'user';
UPDATE api_keys SET role = (SELECT users.role FROM users WHERE users.id = api_keys.user_id);

-- What was kept of owners who are not there any more.
DELETE FROM catalogues WHERE owner NOT IN (SELECT id FROM users);
