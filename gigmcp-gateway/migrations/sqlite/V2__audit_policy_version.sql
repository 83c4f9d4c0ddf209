-- Which revision of the rules decided; not known of what was recorded before, and nothing was decided for a tool call.
ALTER TABLE audit ADD COLUMN policy_version INTEGER;
