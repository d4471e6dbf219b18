-- +goose Up

-- Every user who ever had a pusher. version increases with each change of the user's
-- pushers and never decreases, so the row stays after the last pusher is gone.
CREATE TABLE users (
    user_id TEXT    NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A pusher's identity is (user_id, app_id, pushkey).
CREATE TABLE pushers (
    id                  INTEGER PRIMARY KEY,
    user_id             TEXT    NOT NULL REFERENCES users (user_id),
    app_id              TEXT    NOT NULL,
    pushkey             TEXT    NOT NULL,
    kind                TEXT    NOT NULL,
    instance_handle     TEXT    NOT NULL, -- '' if the client named none
    app_display_name    TEXT    NOT NULL,
    device_display_name TEXT    NOT NULL,
    lang                TEXT    NOT NULL,
    data                TEXT    NOT NULL, -- JSON object, as the client set it
    device_id           TEXT    NOT NULL, -- of the token that set it, '' if unknown
    pushkey_ts          INTEGER NOT NULL, -- when it was last set, Unix seconds
    UNIQUE (user_id, app_id, pushkey)
) STRICT;

-- For "append": false, which removes other users' pushers.
CREATE INDEX pushers_by_pushkey ON pushers (pushkey, app_id);

-- History of removed pushers with the reason. It contains a digest and no pushkey: a
-- pushkey is not kept longer than its pusher.
CREATE TABLE removed_pushers (
    id         INTEGER PRIMARY KEY,
    user_id    TEXT    NOT NULL REFERENCES users (user_id),
    pusher_id  TEXT    NOT NULL, -- digest of (user_id, app_id, pushkey)
    app_id     TEXT    NOT NULL,
    pushkey_ts INTEGER NOT NULL, -- of the removed pusher, Unix seconds
    reason     TEXT    NOT NULL,
    removed_at INTEGER NOT NULL  -- Unix seconds
) STRICT;

CREATE INDEX removed_pushers_by_user ON removed_pushers (user_id, id);

-- Users whose changed pushers are not yet published to NATS, in order.
CREATE TABLE outbox (
    id      INTEGER PRIMARY KEY AUTOINCREMENT,
    user_id TEXT NOT NULL REFERENCES users (user_id)
) STRICT;

-- +goose Down
DROP TABLE outbox;
DROP TABLE removed_pushers;
DROP TABLE pushers;
DROP TABLE users;
