-- +goose Up

-- Where the user wants no pokes (MSC4359): a JSON object as in PUSH_RULES, or NULL for nowhere.
ALTER TABLE account_data ADD COLUMN do_not_disturb TEXT;

-- +goose Down
ALTER TABLE account_data DROP COLUMN do_not_disturb;
