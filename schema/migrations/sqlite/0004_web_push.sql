-- +goose Up

-- A browser (kind webpush) gets nothing before it has shown, by a token that was pushed to it,
-- that pushes reach it.
ALTER TABLE pushers ADD COLUMN inactive INTEGER NOT NULL DEFAULT 0;
-- SHA-256 of the newest token, in hexadecimal; '' if none was made.
ALTER TABLE pushers ADD COLUMN ack_digest TEXT NOT NULL DEFAULT '';
-- When that expires, milliseconds since the Unix epoch.
ALTER TABLE pushers ADD COLUMN ack_expires INTEGER NOT NULL DEFAULT 0;
-- When a token has to be pushed, unless the process that is about to push one says otherwise;
-- 0 if the push service has it, or will not take it.
ALTER TABLE pushers ADD COLUMN ack_due INTEGER NOT NULL DEFAULT 0;
-- Why it could not be pushed last, '' if it could.
ALTER TABLE pushers ADD COLUMN ack_failure TEXT NOT NULL DEFAULT '';

CREATE INDEX pushers_by_ack_due ON pushers (ack_due) WHERE ack_due > 0;

-- The key by which push services know poked. Browsers are bound to it, so it never changes.
CREATE TABLE vapid (
    id          INTEGER PRIMARY KEY CHECK (id = 1),
    private_key TEXT    NOT NULL, -- unpadded base64url
    made_at     INTEGER NOT NULL  -- Unix seconds
) STRICT;

-- +goose Down
DROP TABLE vapid;
DROP INDEX pushers_by_ack_due;
DELETE FROM pushers WHERE kind <> 'http';
ALTER TABLE pushers DROP COLUMN ack_failure;
ALTER TABLE pushers DROP COLUMN ack_due;
ALTER TABLE pushers DROP COLUMN ack_expires;
ALTER TABLE pushers DROP COLUMN ack_digest;
ALTER TABLE pushers DROP COLUMN inactive;
