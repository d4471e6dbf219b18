package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/database"
	"poked/registry/problem"
)

// touchRules increments the version of a user's push rules and ignored users, and puts
// the user into the outbox. Every transaction that changes any of these calls it before
// it writes the user's rows; one that changes nothing does not.
func touchRules(ctx context.Context, tx *database.Tx, user events.UserID) error {
	return raise(ctx, tx, InPushRules, Entry{User: user, AtLeast: 1, Grow: 1})
}

// refuseIfPublished returns an error for global rules that the homeserver keeps.
func refuseIfPublished(ctx context.Context, tx *database.Tx, user events.UserID, name RuleName) error {
	if name.Scope != "" {
		return nil
	}
	var published bool
	err := tx.GetContext(ctx, &published, "SELECT EXISTS (SELECT * FROM account_data WHERE user_id = ? AND push_rules IS NOT NULL)", user)
	if err != nil {
		return fmt.Errorf("read account data: %w", err)
	}
	if published {
		return problem.New(problem.Forbidden, "the homeserver keeps the push rules of this user: change them there")
	}
	return nil
}

// ruleAt reads one of the user's own rules; ok is false if there is none.
func ruleAt(ctx context.Context, tx *database.Tx, user events.UserID, name RuleName) (row ruleRow, ok bool, err error) {
	err = tx.GetContext(ctx, &row, "SELECT "+ruleColumns+" FROM push_rules WHERE user_id = ? AND scope = ? AND kind = ? AND rule_id = ?",
		user, name.Scope, name.Kind, name.ID)
	if errors.Is(err, sql.ErrNoRows) {
		return ruleRow{}, false, nil
	}
	if err != nil {
		return ruleRow{}, false, fmt.Errorf("read push rule: %w", err)
	}
	return row, true, nil
}

// PutRule creates a rule, or replaces the one with the same name. An existing rule stays
// enabled or disabled and, unless at is set, keeps its position. It fails with a [problem.Error]
// if at names a rule that does not exist, or if a limit is exceeded.
func (s *Store) PutRule(ctx context.Context, user events.UserID, name RuleName, rule pushrule.Rule, at Place) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		if err := refuseIfPublished(ctx, tx, user, name); err != nil {
			return err
		}
		old, exists, err := ruleAt(ctx, tx, user, name)
		if err != nil {
			return err
		}
		rule.Enabled = !exists || old.Enabled
		row, err := newRuleRow(user, name, rule, old.Position)
		if err != nil {
			return err
		}
		moved := false
		if !exists || at != (Place{}) {
			if moved, err = row.move(ctx, tx, exists, at); err != nil {
				return err
			}
		}
		if exists && !moved && row == old {
			return nil
		}
		return saveRule(ctx, tx, row)
	})
}

// saveRule writes a rule unless it exceeds a limit.
func saveRule(ctx context.Context, tx *database.Tx, row ruleRow) error {
	if row.Bytes > MaxRuleBytes {
		return problem.New(problem.TooLarge, fmt.Sprintf("a push rule must have at most %d bytes as JSON", MaxRuleBytes))
	}
	if err := touchRules(ctx, tx, row.UserID); err != nil {
		return err
	}
	if err := insertRule(ctx, tx, row); err != nil {
		return err
	}
	return checkRules(ctx, tx, row.UserID)
}

// insertRule writes a rule, replacing one with the same name.
func insertRule(ctx context.Context, tx *database.Tx, row ruleRow) error {
	_, err := tx.NamedExecContext(ctx, `INSERT INTO push_rules (`+ruleColumns+`)
		VALUES (:user_id, :scope, :kind, :rule_id, :position, :enabled, :conditions, :pattern, :actions, :bytes)
		ON CONFLICT (user_id, scope, kind, rule_id) DO UPDATE SET
			position = excluded.position, enabled = excluded.enabled, conditions = excluded.conditions,
			pattern = excluded.pattern, actions = excluded.actions, bytes = excluded.bytes`, row)
	if err != nil {
		return fmt.Errorf("write push rule: %w", err)
	}
	return nil
}

// checkRules returns an error if the user's rules exceed a limit.
func checkRules(ctx context.Context, tx *database.Tx, user events.UserID) error {
	var have struct{ Rules, Devices, Bytes int }
	err := tx.GetContext(ctx, &have, `SELECT count(*) AS rules, count(DISTINCT nullif(scope, '')) AS devices,
			coalesce(sum(bytes), 0) + (SELECT coalesce(sum(octet_length(actions)), 0)
				FROM predefined_changes WHERE user_id = ?) AS bytes
		FROM push_rules WHERE user_id = ?`, user, user)
	if err != nil {
		return fmt.Errorf("count push rules: %w", err)
	}
	// Not M_LIMIT_EXCEEDED: clients would retry, which cannot help.
	switch {
	case have.Rules > MaxRules:
		return problem.New(problem.InvalidParam, fmt.Sprintf("a user may have at most %d push rules: delete one first", MaxRules))
	case have.Devices > MaxRuleDevices:
		return problem.New(problem.InvalidParam, fmt.Sprintf("a user may have push rules for at most %d devices: delete those of one first", MaxRuleDevices))
	case have.Bytes > MaxRulesBytes:
		return problem.New(problem.TooLarge, fmt.Sprintf("all push rules of a user must have at most %d bytes as JSON: delete one first", MaxRulesBytes))
	}
	return nil
}

// ChangeRule changes the state or the actions of a rule, own or predefined.
func (s *Store) ChangeRule(ctx context.Context, user events.UserID, name RuleName, change pushrule.Change) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		if err := refuseIfPublished(ctx, tx, user, name); err != nil {
			return err
		}
		if usual, ok := s.predefined(name); ok {
			return changePredefined(ctx, tx, user, &usual, change)
		}
		old, exists, err := ruleAt(ctx, tx, user, name)
		if err != nil {
			return err
		}
		if !exists {
			return noSuchRule()
		}
		rule, err := old.rule()
		if err != nil {
			return fmt.Errorf("decode push rule: %w", err)
		}
		row, err := newRuleRow(user, name, changed(rule, change), old.Position)
		if err != nil || row == old {
			return err
		}
		return saveRule(ctx, tx, row)
	})
}

func changed(rule pushrule.Rule, change pushrule.Change) pushrule.Rule {
	if change.Enabled != nil {
		rule.Enabled = *change.Enabled
	}
	if change.Actions != nil {
		rule.Actions = change.Actions
	}
	return rule
}

// changePredefined stores how a rule differs from the predefined one. A value that is set
// back to the predefined one is deleted, so that the rule follows the specification
// again; a user without any differences has no key in the bucket.
func changePredefined(ctx context.Context, tx *database.Tx, user events.UserID, usual *pushrule.Rule, change pushrule.Change) error {
	var old changeRow
	err := tx.GetContext(ctx, &old, "SELECT enabled, actions FROM predefined_changes WHERE user_id = ? AND rule_id = ?", user, usual.ID)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("read change of predefined rule: %w", err)
	}
	row, err := old.with(usual, change)
	if err != nil || row == old {
		return err
	}
	if len(row.Actions.String) > MaxRuleBytes {
		return problem.New(problem.TooLarge, fmt.Sprintf("the actions of a push rule must have at most %d bytes as JSON", MaxRuleBytes))
	}
	if err := touchRules(ctx, tx, user); err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO predefined_changes (user_id, rule_id, enabled, actions) VALUES (?, ?, ?, ?)
		ON CONFLICT (user_id, rule_id) DO UPDATE SET enabled = excluded.enabled, actions = excluded.actions`, user, usual.ID, row.Enabled, row.Actions)
	if err != nil {
		return fmt.Errorf("write change of predefined rule: %w", err)
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM predefined_changes WHERE user_id = ? AND enabled IS NULL AND actions IS NULL", user)
	if err != nil {
		return fmt.Errorf("forget change of predefined rule: %w", err)
	}
	return checkRules(ctx, tx, user)
}

// with returns the row after a change of its predefined rule.
func (r changeRow) with(usual *pushrule.Rule, change pushrule.Change) (changeRow, error) {
	if change.Enabled != nil {
		r.Enabled = sql.NullBool{Bool: *change.Enabled, Valid: *change.Enabled != usual.Enabled}
		r.Enabled.Bool = r.Enabled.Bool && r.Enabled.Valid // as database/sql reads NULL
	}
	if change.Actions == nil {
		return r, nil
	}
	wanted, err := jsonText(change.Actions)
	if err != nil {
		return r, err
	}
	predefined, err := json.Marshal(usual.Actions)
	if err != nil {
		return r, fmt.Errorf("encode predefined actions: %w", err)
	}
	r.Actions = wanted
	if wanted.String == string(predefined) {
		r.Actions = sql.NullString{}
	}
	return r, nil
}

// DeleteRule removes one of the user's own rules.
func (s *Store) DeleteRule(ctx context.Context, user events.UserID, name RuleName) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		if err := refuseIfPublished(ctx, tx, user, name); err != nil {
			return err
		}
		if _, ok := s.predefined(name); ok {
			return problem.New(problem.InvalidParam, "a predefined push rule cannot be deleted: disable it")
		}
		result, err := tx.ExecContext(ctx, "DELETE FROM push_rules WHERE user_id = ? AND scope = ? AND kind = ? AND rule_id = ?",
			user, name.Scope, name.Kind, name.ID)
		if err != nil {
			return fmt.Errorf("delete push rule: %w", err)
		}
		if n, err := result.RowsAffected(); err != nil {
			return fmt.Errorf("delete push rule: %w", err)
		} else if n == 0 {
			return noSuchRule()
		}
		return touchRules(ctx, tx, user)
	})
}
