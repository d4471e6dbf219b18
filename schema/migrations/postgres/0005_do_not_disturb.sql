-- +goose Up

-- As in the SQLite database at the same version; the comments are there.

ALTER TABLE account_data ADD COLUMN do_not_disturb TEXT;

CREATE INDEX account_data_do_not_disturb ON account_data (user_id) WHERE do_not_disturb IS NOT NULL;

-- +goose Down
DROP INDEX account_data_do_not_disturb;
ALTER TABLE account_data DROP COLUMN do_not_disturb;
