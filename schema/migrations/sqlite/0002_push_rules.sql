-- +goose Up

-- From here on users holds every user with any value ever published to NATS: version
-- counts the changes of the user's pushers, rules_version those of the user's value in
-- PUSH_RULES.
ALTER TABLE users ADD COLUMN rules_version INTEGER NOT NULL DEFAULT 0;

ALTER TABLE pushers ADD COLUMN disabled INTEGER NOT NULL DEFAULT 0;

-- The users' own rules. A rule's identity is (user_id, scope, kind, rule_id).
CREATE TABLE push_rules (
    id         INTEGER PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (user_id),
    scope      TEXT    NOT NULL, -- '' for the global rules, or the handle of a device
    kind       TEXT    NOT NULL, -- override, content, room, sender or underride
    rule_id    TEXT    NOT NULL,
    -- Within a kind the rule with the lowest position is evaluated first. Positions have
    -- gaps, so that a rule can be placed between two others without moving them.
    position   INTEGER NOT NULL,
    enabled    INTEGER NOT NULL,
    conditions TEXT, -- JSON array, of override and underride rules only
    pattern    TEXT, -- of content rules only
    actions    TEXT    NOT NULL, -- JSON array
    bytes      INTEGER NOT NULL, -- of the whole rule as JSON, for the limits
    UNIQUE (user_id, scope, kind, rule_id)
) STRICT;

-- Not unique, since two positions may be equal while rules are renumbered.
CREATE INDEX push_rules_in_order ON push_rules (user_id, scope, kind, position);

-- Changes of predefined rules by users; NULL means as predefined.
CREATE TABLE predefined_changes (
    user_id TEXT    NOT NULL REFERENCES users (user_id),
    rule_id TEXT    NOT NULL,
    enabled INTEGER,
    actions TEXT, -- JSON array
    PRIMARY KEY (user_id, rule_id)
) STRICT, WITHOUT ROWID;

-- Account data that the homeserver published for a user.
CREATE TABLE account_data (
    user_id       TEXT NOT NULL PRIMARY KEY REFERENCES users (user_id),
    push_rules    TEXT, -- the ruleset in m.push_rules, or NULL if clients set rules here
    ignored_users TEXT  -- JSON array of user ids, or NULL for none
) STRICT;

-- The bucket to publish to: PUSHERS or PUSH_RULES.
ALTER TABLE outbox ADD COLUMN bucket TEXT NOT NULL DEFAULT 'PUSHERS';

-- +goose Down
DELETE FROM outbox WHERE bucket <> 'PUSHERS';
ALTER TABLE outbox DROP COLUMN bucket;
DROP TABLE account_data;
DROP TABLE predefined_changes;
DROP TABLE push_rules;
ALTER TABLE pushers DROP COLUMN disabled;
ALTER TABLE users DROP COLUMN rules_version;
