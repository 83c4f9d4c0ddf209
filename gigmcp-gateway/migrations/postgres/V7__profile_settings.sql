-- What the owner of a profile has said of it, as JSON.
ALTER TABLE profiles ADD COLUMN settings TEXT NOT NULL DEFAULT '{}';
