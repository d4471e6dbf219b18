-- +goose Up

-- As in the SQLite database at the same version; the comments are there.

ALTER TABLE account_data ADD COLUMN do_not_disturb TEXT;

-- +goose Down
ALTER TABLE account_data DROP COLUMN do_not_disturb;
