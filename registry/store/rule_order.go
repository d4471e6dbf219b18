package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"poked/registry/database"
	"poked/registry/problem"
)

// The rules of a kind have positions with wide gaps. A rule that is placed between two
// others gets the middle of their gap. Only when a gap is used up, after 32 insertions at
// the same place, one statement renumbers all rules of the kind.
const (
	positionStep  = 1 << 32
	positionLimit = 1 << 62 // on both sides of 0; 2^30 steps away
)

// move chooses the position of a rule. It reports whether the position is new.
func (r *ruleRow) move(ctx context.Context, tx *database.Tx, exists bool, at Place) (moved bool, err error) {
	room, err := r.gap(ctx, tx, at)
	if err != nil || exists && room.holds(r.Position) {
		return false, err
	}
	if position, ok := room.middle(); ok {
		r.Position = position
		return true, nil
	}
	if err := r.renumber(ctx, tx); err != nil {
		return false, err
	}
	if room, err = r.gap(ctx, tx, at); err != nil {
		return false, err
	}
	position, ok := room.middle()
	if !ok {
		return false, errors.New("choose position of push rule: no gap after renumbering")
	}
	r.Position = position
	return true, nil
}

// gap is the range between the positions of two rules. Without low it is before the first
// rule, without high after the last.
type gap struct{ low, high sql.NullInt64 }

func (g gap) holds(position int64) bool {
	return (!g.low.Valid || g.low.Int64 < position) && (!g.high.Valid || position < g.high.Int64)
}

// middle returns a position in the gap; ok is false if there is none.
func (g gap) middle() (position int64, ok bool) {
	switch {
	case g.low.Valid && g.high.Valid:
		position = g.low.Int64 + (g.high.Int64-g.low.Int64)/2
	case g.low.Valid:
		position = g.low.Int64 + positionStep
	case g.high.Valid:
		position = g.high.Int64 - positionStep
	}
	return position, g.holds(position) && -positionLimit < position && position < positionLimit
}

// gap finds the gap for the rule. The rule's own current position does not count.
func (r *ruleRow) gap(ctx context.Context, tx *database.Tx, at Place) (g gap, err error) {
	switch {
	case at.Before != "":
		if g.high, err = r.neighbour(ctx, tx, at.Before); err == nil {
			g.low, err = r.position(ctx, tx, "max(position)", "position < ?", g.high)
		}
	case at.After != "":
		if g.low, err = r.neighbour(ctx, tx, at.After); err == nil {
			g.high, err = r.position(ctx, tx, "min(position)", "position > ?", g.low)
		}
	default:
		g.high, err = r.position(ctx, tx, "min(position)", "true")
	}
	return g, err
}

// neighbour returns the position of the rule next to which this one is placed.
func (r *ruleRow) neighbour(ctx context.Context, tx *database.Tx, id string) (sql.NullInt64, error) {
	position, err := r.position(ctx, tx, "max(position)", "rule_id = ?", id)
	if err == nil && !position.Valid {
		err = problem.New(problem.NoSuchNeighbour, "the rule named by before or after does not exist")
	}
	return position, err
}

// position reads a position among the other rules of the same kind. The expressions what
// and where must be constants.
func (r *ruleRow) position(ctx context.Context, tx *database.Tx, what, where string, args ...any) (position sql.NullInt64, err error) {
	query := "SELECT " + what + " FROM push_rules WHERE user_id = ? AND scope = ? AND kind = ? AND rule_id <> ? AND " + where
	err = tx.GetContext(ctx, &position, query, append([]any{r.UserID, r.Scope, r.Kind, r.RuleID}, args...)...)
	if err != nil {
		return position, fmt.Errorf("read position of push rule: %w", err)
	}
	return position, nil
}

// renumber restores the gaps between all rules of the kind.
func (r *ruleRow) renumber(ctx context.Context, tx *database.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE push_rules SET position = numbered.n * ?
		FROM (SELECT id, row_number() OVER (ORDER BY position) AS n FROM push_rules
			WHERE user_id = ? AND scope = ? AND kind = ?) AS numbered
		WHERE push_rules.id = numbered.id`, positionStep, r.UserID, r.Scope, r.Kind)
	if err != nil {
		return fmt.Errorf("renumber push rules: %w", err)
	}
	return nil
}
