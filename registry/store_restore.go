package registry

import (
	"context"
	"database/sql"
	"fmt"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/database"
)

// restorePushers writes a user's pushers from the bucket.
func restorePushers(ctx context.Context, tx *database.Tx, set events.UserPushers) error {
	if err := restoreVersion(ctx, tx, inPushers, set.UserID, set.Version); err != nil {
		return err
	}
	for i := range set.Pushers {
		_, err := tx.NamedExecContext(ctx, `INSERT INTO pushers (`+pusherColumns+`)
			VALUES (`+pusherValues+`)
			ON CONFLICT DO NOTHING`, newPusherRow(set.UserID, set.Pushers[i]))
		if err != nil {
			return fmt.Errorf("write pusher: %w", err)
		}
	}
	return nil
}

// restoreVersion sets a user's version to the one in a bucket, but at least to 1: version
// 0 would mean that the user never had a value.
func restoreVersion(ctx context.Context, tx *database.Tx, b bucket, user events.UserID, version int64) error {
	column := b.version()
	_, err := tx.ExecContext(ctx, "INSERT INTO users (user_id, version) VALUES (?, 0) ON CONFLICT DO NOTHING", user)
	if err == nil {
		_, err = tx.ExecContext(ctx, "UPDATE users SET "+column+" = ? WHERE user_id = ?", max(version, 1), user)
	}
	if err != nil {
		return fmt.Errorf("write user: %w", err)
	}
	return nil
}

// restoreRules writes a user's push rules and ignored users from the bucket.
func restoreRules(ctx context.Context, tx *database.Tx, rules *events.UserPushRules) error {
	if err := restoreVersion(ctx, tx, inPushRules, rules.UserID, rules.Version); err != nil {
		return err
	}
	for scope, set := range scopesOf(rules) {
		for _, kind := range kinds() {
			if err := restoreList(ctx, tx, rules.UserID, scope, kind, *listOf(&set, kind)); err != nil {
				return err
			}
		}
	}
	for id, change := range rules.Changes.Predefined {
		if err := restoreChange(ctx, tx, rules.UserID, id, change); err != nil {
			return err
		}
	}
	return restoreAccountData(ctx, tx, rules)
}

// scopesOf returns the user's own rules by scope.
func scopesOf(rules *events.UserPushRules) map[string]pushrule.Ruleset {
	own := &rules.Changes
	scopes := map[string]pushrule.Ruleset{
		"": {Override: own.Override, Content: own.Content, Room: own.Room, Sender: own.Sender, Underride: own.Underride},
	}
	for handle, set := range rules.Devices {
		scopes[handle] = set
	}
	return scopes
}

func kinds() []pushrule.Kind {
	return []pushrule.Kind{
		pushrule.KindOverride, pushrule.KindContent, pushrule.KindRoom, pushrule.KindSender, pushrule.KindUnderride,
	}
}

func restoreList(ctx context.Context, tx *database.Tx, user events.UserID, scope string, kind pushrule.Kind, list []pushrule.Rule) error {
	for i, rule := range list {
		row, err := newRuleRow(user, ruleName{scope: scope, kind: kind, id: rule.ID}, rule, int64(i+1)*positionStep)
		if err != nil {
			return err
		}
		if err := insertRule(ctx, tx, row); err != nil {
			return err
		}
	}
	return nil
}

func restoreChange(ctx context.Context, tx *database.Tx, user events.UserID, id string, change pushrule.Change) (err error) {
	row := changeRow{RuleID: id}
	if change.Enabled != nil {
		row.Enabled = sql.NullBool{Bool: *change.Enabled, Valid: true}
	}
	if change.Actions != nil {
		if row.Actions, err = jsonText(change.Actions); err != nil {
			return err
		}
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO predefined_changes (user_id, rule_id, enabled, actions) VALUES (?, ?, ?, ?)",
		user, row.RuleID, row.Enabled, row.Actions)
	if err != nil {
		return fmt.Errorf("write change of predefined rule: %w", err)
	}
	return nil
}

func restoreAccountData(ctx context.Context, tx *database.Tx, rules *events.UserPushRules) (err error) {
	var published, ignored, quiet sql.NullString
	if rules.Published != nil {
		if published, err = jsonText(rules.Published); err != nil {
			return err
		}
	}
	if len(rules.IgnoredUsers) > 0 {
		if ignored, err = jsonText(rules.IgnoredUsers); err != nil {
			return err
		}
	}
	if rules.DoNotDisturb != nil {
		if quiet, err = jsonText(rules.DoNotDisturb); err != nil {
			return err
		}
	}
	if !published.Valid && !ignored.Valid && !quiet.Valid {
		return nil
	}
	_, err = tx.ExecContext(ctx, "INSERT INTO account_data (user_id, push_rules, ignored_users, do_not_disturb) VALUES (?, ?, ?, ?)",
		rules.UserID, published, ignored, quiet)
	if err != nil {
		return fmt.Errorf("write account data: %w", err)
	}
	return nil
}
