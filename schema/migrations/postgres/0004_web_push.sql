-- +goose Up

-- As in the SQLite database at the same version; the comments are there.

ALTER TABLE pushers ADD COLUMN inactive BOOLEAN NOT NULL DEFAULT false;
ALTER TABLE pushers ADD COLUMN ack_digest TEXT NOT NULL DEFAULT '';
ALTER TABLE pushers ADD COLUMN ack_expires BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pushers ADD COLUMN ack_due BIGINT NOT NULL DEFAULT 0;
ALTER TABLE pushers ADD COLUMN ack_failure TEXT NOT NULL DEFAULT '';

CREATE INDEX pushers_by_ack_due ON pushers (ack_due) WHERE ack_due > 0;

CREATE TABLE vapid (
    id          BIGINT PRIMARY KEY CHECK (id = 1),
    private_key TEXT   NOT NULL,
    made_at     BIGINT NOT NULL
);

-- +goose Down
DROP TABLE vapid;
DELETE FROM pushers WHERE kind <> 'http';
ALTER TABLE pushers DROP COLUMN inactive;
ALTER TABLE pushers DROP COLUMN ack_digest;
ALTER TABLE pushers DROP COLUMN ack_expires;
ALTER TABLE pushers DROP COLUMN ack_due;
ALTER TABLE pushers DROP COLUMN ack_failure;
