-- +goose Up

-- Where the user wants no pokes (MSC4359): a JSON object as in PUSH_RULES, or NULL for nowhere.
ALTER TABLE account_data ADD COLUMN do_not_disturb TEXT;

-- A registry without --do-not-disturb looks at each start whether anybody has any.
CREATE INDEX account_data_do_not_disturb ON account_data (user_id) WHERE do_not_disturb IS NOT NULL;

-- +goose Down
DROP INDEX account_data_do_not_disturb;
ALTER TABLE account_data DROP COLUMN do_not_disturb;
