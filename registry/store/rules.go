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

// Limits of push rules, which the specification does not set. Bytes count the stored form:
// compact JSON as encoding/json writes it, with <, > and & escaped. The last one, and those of
// account data, keep a user's value within one NATS message of 1 MiB.
const (
	MaxRuleBytes   = 4096
	MaxRules       = 1000 // of one user, over all scopes
	MaxRuleDevices = 50   // of one user, with rules of their own
	MaxRulesBytes  = 384 << 10
)

// ruleRow is a row of push_rules.
type ruleRow struct {
	UserID     events.UserID  `db:"user_id"`
	Scope      string         `db:"scope"`
	Kind       pushrule.Kind  `db:"kind"`
	RuleID     string         `db:"rule_id"`
	Position   int64          `db:"position"`
	Enabled    bool           `db:"enabled"`
	Conditions sql.NullString `db:"conditions"`
	Pattern    sql.NullString `db:"pattern"`
	Actions    string         `db:"actions"`
	Bytes      int            `db:"bytes"`
}

const ruleColumns = "user_id, scope, kind, rule_id, position, enabled, conditions, pattern, actions, bytes"

// newRuleRow returns the row of a rule at a position.
func newRuleRow(user events.UserID, name RuleName, rule pushrule.Rule, position int64) (ruleRow, error) {
	row := ruleRow{
		UserID: user, Scope: name.Scope, Kind: name.Kind, RuleID: name.ID, Position: position, Enabled: rule.Enabled,
	}
	whole, err := json.Marshal(rule)
	if err != nil {
		return ruleRow{}, fmt.Errorf("encode rule: %w", err)
	}
	row.Bytes = len(whole)
	if rule.Conditions != nil {
		if row.Conditions, err = jsonText(rule.Conditions); err != nil {
			return ruleRow{}, err
		}
	}
	if rule.Pattern != nil {
		row.Pattern = sql.NullString{String: *rule.Pattern, Valid: true}
	}
	actions, err := jsonText(rule.Actions)
	row.Actions = actions.String
	return row, err
}

func (r *ruleRow) rule() (pushrule.Rule, error) {
	rule := pushrule.Rule{ID: r.RuleID, Enabled: r.Enabled}
	if r.Pattern.Valid {
		rule.Pattern = &r.Pattern.String
	}
	return rule, errors.Join(readJSON(r.Conditions, &rule.Conditions), json.Unmarshal([]byte(r.Actions), &rule.Actions))
}

// jsonText encodes a value for a JSON column.
func jsonText(v any) (sql.NullString, error) {
	encoded, err := json.Marshal(v)
	if err != nil {
		return sql.NullString{}, fmt.Errorf("encode for the database: %w", err)
	}
	return sql.NullString{String: string(encoded), Valid: true}, nil
}

// readJSON decodes a JSON column; NULL leaves v unchanged.
func readJSON(text sql.NullString, v any) error {
	if !text.Valid {
		return nil
	}
	return json.Unmarshal([]byte(text.String), v)
}

// PushRules returns a user's push rules and ignored users with their version. The version
// is 0 for a user who never had any.
func (s *Store) PushRules(ctx context.Context, user events.UserID) (rules events.UserPushRules, err error) {
	err = s.view(ctx, func(tx *database.Tx) error {
		rules, err = rulesOf(ctx, tx, user)
		return err
	})
	return rules, err
}

func rulesOf(ctx context.Context, tx *database.Tx, user events.UserID) (events.UserPushRules, error) {
	rules := events.UserPushRules{UserID: user}
	err := tx.GetContext(ctx, &rules.Version, "SELECT rules_version FROM users WHERE user_id = ?", user)
	if errors.Is(err, sql.ErrNoRows) || err == nil && rules.Version == 0 {
		return rules, nil
	}
	if err != nil {
		return rules, fmt.Errorf("read version of push rules: %w", err)
	}
	list, err := rulesOfAll(ctx, tx, []userVersion{{user, rules.Version}})
	if err != nil {
		return rules, err
	}
	return list[0], nil
}

// rulesOfAll reads the rules of several users, who are in the order of their ids.
func rulesOfAll(ctx context.Context, tx *database.Tx, users []userVersion) ([]events.UserPushRules, error) {
	first, last := users[0].UserID, users[len(users)-1].UserID
	var own []ruleRow
	err := tx.SelectContext(ctx, &own, "SELECT "+ruleColumns+" FROM push_rules WHERE user_id BETWEEN ? AND ? ORDER BY user_id, scope, kind, position", first, last)
	if err != nil {
		return nil, fmt.Errorf("read push rules: %w", err)
	}
	var changes []changeRow
	err = tx.SelectContext(ctx, &changes, "SELECT user_id, rule_id, enabled, actions FROM predefined_changes WHERE user_id BETWEEN ? AND ? ORDER BY user_id", first, last)
	if err != nil {
		return nil, fmt.Errorf("read changes of predefined rules: %w", err)
	}
	var data []accountRow
	err = tx.SelectContext(ctx, &data, "SELECT user_id, push_rules, ignored_users, do_not_disturb FROM account_data WHERE user_id BETWEEN ? AND ? ORDER BY user_id", first, last)
	if err != nil {
		return nil, fmt.Errorf("read account data: %w", err)
	}
	ownOf := eachUser(own, func(r *ruleRow) events.UserID { return r.UserID })
	changesOf := eachUser(changes, func(r *changeRow) events.UserID { return r.UserID })
	dataOf := eachUser(data, func(r *accountRow) events.UserID { return r.UserID })
	list := make([]events.UserPushRules, len(users))
	for i, u := range users {
		list[i] = events.UserPushRules{UserID: u.UserID, Version: u.Version}
		err := errors.Join(addOwnRules(ownOf(u.UserID), &list[i]), addPredefinedChanges(changesOf(u.UserID), &list[i]), addAccountData(dataOf(u.UserID), &list[i]))
		if err != nil {
			return nil, err
		}
	}
	return list, nil
}

// addOwnRules adds the user's own rules, which are in order.
func addOwnRules(rows []ruleRow, to *events.UserPushRules) error {
	scopes := map[string]pushrule.Ruleset{}
	for i := range rows {
		rule, err := rows[i].rule()
		if err != nil {
			return fmt.Errorf("decode push rule: %w", err)
		}
		set := scopes[rows[i].Scope]
		list := set.Of(rows[i].Kind)
		if list == nil {
			return fmt.Errorf("decode push rule: unknown kind")
		}
		*list = append(*list, rule)
		scopes[rows[i].Scope] = set
	}
	global := scopes[""]
	delete(scopes, "")
	to.Changes = pushrule.Changes{
		Override: global.Override, Content: global.Content, Room: global.Room, Sender: global.Sender, Underride: global.Underride,
	}
	if len(scopes) > 0 {
		to.Devices = scopes
	}
	return nil
}

// changeRow is a row of predefined_changes.
type changeRow struct {
	UserID  events.UserID  `db:"user_id"`
	RuleID  string         `db:"rule_id"`
	Enabled sql.NullBool   `db:"enabled"`
	Actions sql.NullString `db:"actions"`
}

func (r *changeRow) change() (change pushrule.Change, err error) {
	if r.Enabled.Valid {
		change.Enabled = &r.Enabled.Bool
	}
	return change, readJSON(r.Actions, &change.Actions)
}

func addPredefinedChanges(rows []changeRow, to *events.UserPushRules) error {
	for i := range rows {
		change, err := rows[i].change()
		if err != nil {
			return fmt.Errorf("decode change of predefined rule: %w", err)
		}
		if to.Changes.Predefined == nil {
			to.Changes.Predefined = map[string]pushrule.Change{}
		}
		to.Changes.Predefined[rows[i].RuleID] = change
	}
	return nil
}

// accountRow is a row of account_data.
type accountRow struct {
	UserID       events.UserID  `db:"user_id"`
	PushRules    sql.NullString `db:"push_rules"`
	IgnoredUsers sql.NullString `db:"ignored_users"`
	DoNotDisturb sql.NullString `db:"do_not_disturb"`
}

// addAccountData adds the account data that the homeserver published for the user, if there
// is any.
func addAccountData(rows []accountRow, to *events.UserPushRules) error {
	for i := range rows {
		if err := errors.Join(readJSON(rows[i].PushRules, &to.Published), readJSON(rows[i].IgnoredUsers, &to.IgnoredUsers), readJSON(rows[i].DoNotDisturb, &to.DoNotDisturb)); err != nil {
			return fmt.Errorf("decode account data: %w", err)
		}
	}
	return nil
}

// RuleName names one rule of a user.
type RuleName struct {
	Scope string // "" for the global rules, or the handle of a device
	Kind  pushrule.Kind
	ID    string
}

// Place is the requested position of a rule among the user's own rules of its kind:
// directly before or after another rule. If neither is set, an existing rule keeps its
// position and a new one becomes the first.
type Place struct{ Before, After string }

// predefined returns the predefined rule with this name, among those of the specification and
// of the proposals that the operator offers, as it is until a user changes it.
func (s *Store) predefined(n RuleName) (rule pushrule.Rule, ok bool) {
	if n.Scope != "" {
		return rule, false
	}
	rules := s.Ruleset(&events.UserPushRules{}, "") // no action depends on the user
	return findRule(&rules, n)
}

func findRule(rules *pushrule.Ruleset, name RuleName) (pushrule.Rule, bool) {
	for _, rule := range *rules.Of(name.Kind) {
		if rule.ID == name.ID {
			return rule, true
		}
	}
	return pushrule.Rule{}, false
}

// Rule returns one rule of a user, as clients see it. It fails with [problem.NotFound] if
// there is none of this name.
func (s *Store) Rule(ctx context.Context, user events.UserID, name RuleName) (pushrule.Rule, error) {
	rules, err := s.PushRules(ctx, user)
	if err != nil {
		return pushrule.Rule{}, err
	}
	set := s.Ruleset(&rules, name.Scope)
	rule, ok := findRule(&set, name)
	if !ok {
		return pushrule.Rule{}, noSuchRule()
	}
	return rule, nil
}

// Ruleset returns the rules of one scope, as clients see them.
func (s *Store) Ruleset(rules *events.UserPushRules, scope string) pushrule.Ruleset {
	if scope == "" {
		global := rules.Global()
		return global.Offering(s.options.Offers)
	}
	return rules.Devices[scope]
}

func noSuchRule() error { return problem.New(problem.NotFound, "there is no such push rule") }
