-- +goose Up

-- Which process made the change. It is '' in this file, which belongs to one process.
ALTER TABLE outbox ADD COLUMN origin TEXT NOT NULL DEFAULT '';

-- The newest change of an account of each kind that was applied: NATS delivers a change
-- again after a failure, and then it must not replace a newer one.
CREATE TABLE account_changes (
    user_id TEXT    NOT NULL,
    kind    TEXT    NOT NULL, -- push_rules or ignored_users
    log     INTEGER NOT NULL, -- when the consumer of ACCOUNTS was made, nanoseconds
    seq     INTEGER NOT NULL, -- of the message in ACCOUNTS
    PRIMARY KEY (user_id, kind)
) STRICT, WITHOUT ROWID;

-- +goose Down
DROP TABLE account_changes;
ALTER TABLE outbox DROP COLUMN origin;
