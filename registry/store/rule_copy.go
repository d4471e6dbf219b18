package store

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"poked/events"
	"poked/events/pushrule"
	"poked/registry/database"
	"poked/registry/problem"
)

// CopyRules copies the rules of one device to another, with their order and state. A
// repeated call does nothing. It fails with a [problem.Error] if there is nothing to copy, if
// the target has different rules, or if a limit is exceeded.
func (s *Store) CopyRules(ctx context.Context, user events.UserID, from, to string) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		rules, err := rulesOf(ctx, tx, user)
		if err != nil {
			return err
		}
		source, ok := rules.Devices[from]
		if !ok {
			return problem.New(problem.NotFound, "there are no push rules with this instance_handle")
		}
		if target, taken := rules.Devices[to]; taken {
			return refuseOther(source, target)
		}
		if err := touchRules(ctx, tx, user); err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, `INSERT INTO push_rules (`+ruleColumns+`)
			SELECT user_id, ?, kind, rule_id, position, enabled, conditions, pattern, actions, bytes
			FROM push_rules WHERE user_id = ? AND scope = ?`, to, user, from)
		if err != nil {
			return fmt.Errorf("copy push rules: %w", err)
		}
		return checkRules(ctx, tx, user)
	})
}

// refuseOther returns an error unless the target is already a copy of the source.
func refuseOther(source, target pushrule.Ruleset) error {
	a, errA := json.Marshal(source)
	b, errB := json.Marshal(target)
	if err := errors.Join(errA, errB); err != nil {
		return fmt.Errorf("encode push rules: %w", err)
	}
	if !bytes.Equal(a, b) {
		return problem.New(problem.InvalidParam, "the new instance_handle already has different push rules")
	}
	return nil
}
