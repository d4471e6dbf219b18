package registry

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/jmoiron/sqlx"
)

// The rules of a kind stand at positions with wide gaps between them. A rule that
// is put between two others takes the middle of their gap, and only when a gap is
// used up, after 32 rules were put at the same spot, all rules of the kind are
// numbered anew, by one statement.
const (
	positionStep  = 1 << 32
	positionLimit = 1 << 62 // on both sides of 0; 2^30 steps away
)

// move chooses where a rule is to stand. It says whether that is elsewhere than
// where the rule stands already, if it exists.
func (r *ruleRow) move(ctx context.Context, tx *sqlx.Tx, exists bool, at place) (moved bool, err error) {
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
		return false, errors.New("choose position of push rule: no gap between rules numbered anew")
	}
	r.Position = position
	return true, nil
}

// gap is what lies between the positions of two rules, or, where one of them is
// missing, before the first or after the last.
type gap struct{ low, high sql.NullInt64 }

func (g gap) holds(position int64) bool {
	return (!g.low.Valid || g.low.Int64 < position) && (!g.high.Valid || position < g.high.Int64)
}

// middle returns a position in the gap, unless there is none.
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

// gap finds where the rule would stand. The rule itself, if it is there already,
// does not count.
func (r *ruleRow) gap(ctx context.Context, tx *sqlx.Tx, at place) (g gap, err error) {
	switch {
	case at.before != "":
		if g.high, err = r.neighbour(ctx, tx, at.before); err == nil {
			g.low, err = r.position(ctx, tx, "max(position)", "position < ?", g.high)
		}
	case at.after != "":
		if g.low, err = r.neighbour(ctx, tx, at.after); err == nil {
			g.high, err = r.position(ctx, tx, "min(position)", "position > ?", g.low)
		}
	default:
		g.high, err = r.position(ctx, tx, "min(position)", "true")
	}
	return g, err
}

// neighbour returns the position of the rule that is to stand beside this one.
func (r *ruleRow) neighbour(ctx context.Context, tx *sqlx.Tx, id string) (sql.NullInt64, error) {
	position, err := r.position(ctx, tx, "max(position)", "rule_id = ?", id)
	if err == nil && !position.Valid {
		err = fail(noSuchNeighbour, "the rule named by before or after is not there")
	}
	return position, err
}

// position asks for a position among the other rules of the rule's kind. What is
// asked and where are constants of the caller's.
func (r *ruleRow) position(ctx context.Context, tx *sqlx.Tx, what, where string, args ...any) (position sql.NullInt64, err error) {
	query := "SELECT " + what + " FROM push_rules WHERE user_id = ? AND scope = ? AND kind = ? AND rule_id <> ? AND " + where
	err = tx.GetContext(ctx, &position, query, append([]any{r.UserID, r.Scope, r.Kind, r.RuleID}, args...)...)
	if err != nil {
		return position, fmt.Errorf("read position of push rule: %w", err)
	}
	return position, nil
}

// renumber opens the gaps between all rules of the kind again.
func (r *ruleRow) renumber(ctx context.Context, tx *sqlx.Tx) error {
	_, err := tx.ExecContext(ctx, `UPDATE push_rules SET position = numbered.n * ?
		FROM (SELECT id, row_number() OVER (ORDER BY position) AS n FROM push_rules
			WHERE user_id = ? AND scope = ? AND kind = ?) AS numbered
		WHERE push_rules.id = numbered.id`, positionStep, r.UserID, r.Scope, r.Kind)
	if err != nil {
		return fmt.Errorf("renumber push rules: %w", err)
	}
	return nil
}
