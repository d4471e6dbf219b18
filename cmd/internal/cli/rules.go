package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/pushrule"
	"poked/events/stream"
)

// rulesCmd is "poked rules".
type rulesCmd struct {
	Operator operatorFlags `embed:""`
	User     events.UserID `arg:"" name:"user-id" help:"User, such as @alice:example.org."`
}

// Help is shown by kong under the command's summary.
func (rulesCmd) Help() string {
	return "Shows the rules in the order in which they are evaluated, as dispatchers have them, and where they come from: " +
		"the homeserver's ruleset, changes made at poked's registry, or the predefined rules of the Matrix specification alone."
}

// Validate is called by kong.
func (c *rulesCmd) Validate() error {
	if !strings.HasPrefix(string(c.User), "@") {
		return errors.New("a user id begins with @")
	}
	return nil
}

// effectiveRules is what "poked rules" prints.
type effectiveRules struct {
	UserID  events.UserID               `json:"user_id"`
	Origin  string                      `json:"origin"` // homeserver, registry or predefined
	Changed time.Time                   `json:"changed,omitzero"`
	Version int64                       `json:"version,omitempty"`
	Rules   pushrule.Ruleset            `json:"rules"`             // for all devices
	Devices map[string]pushrule.Ruleset `json:"devices,omitempty"` // rules of single devices, by instance handle
	Ignored []events.UserID             `json:"ignored_users,omitempty"`
}

// Run prints the rules.
func (c *rulesCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		set, changed, err := conn.PushRulesOfUser(ctx, c.User)
		if err != nil {
			return err
		}
		rules := effectiveRules{
			UserID: c.User, Origin: originOf(&set), Changed: changed, Version: set.Version, Rules: set.Global(),
			Devices: set.Devices, Ignored: set.IgnoredUsers,
		}
		if c.Operator.JSON {
			return terminal.PrintJSON(std.Out, rules)
		}
		return rules.print(std)
	})
}

func originOf(set *events.UserPushRules) string {
	switch {
	case set.Published != nil:
		return "homeserver"
	case !set.Changes.IsZero():
		return "registry"
	}
	return "predefined"
}

func (e *effectiveRules) print(std terminal.Streams) error {
	text := map[string]string{
		"homeserver": "as the homeserver published them, completed with predefined rules that they lack",
		"registry":   "the predefined rules with the user's changes",
		"predefined": "the predefined rules: the user has changed nothing",
	}[e.Origin]
	if !e.Changed.IsZero() {
		text += ", changed " + stamp(e.Changed)
	}
	if _, err := fmt.Fprintf(std.Out, "%s: %s\n\n", e.UserID, text); err != nil {
		return err
	}
	table := terminal.NewTable(std.Out, []terminal.Column{
		{Title: "KIND"}, {Title: "RULE", Least: 20}, {Title: "ON"}, {Title: "ACTIONS", Least: 20},
	})
	for kind, r := range e.Rules.InOrder() {
		if err := table.Add([]string{string(kind), r.ID, yes(r.Enabled), actionsOf(r)}); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return e.printRest(std)
}

// printRest prints what applies beside the rules for all devices.
func (e *effectiveRules) printRest(std terminal.Streams) error {
	var b strings.Builder
	for _, handle := range slices.Sorted(maps.Keys(e.Devices)) {
		fmt.Fprintf(&b, "\nThe device %s has rules of its own, evaluated before these: see --json.\n", strings.Map(terminal.Harmless, handle))
	}
	if len(e.Ignored) > 0 {
		fmt.Fprintf(&b, "\nIgnored users: %s\n", strings.Map(terminal.Harmless, fmt.Sprint(e.Ignored)))
	}
	if _, err := io.WriteString(std.Out, b.String()); err != nil {
		return fmt.Errorf("print rules: %w", err)
	}
	return nil
}

func yes(on bool) string {
	if on {
		return "yes"
	}
	return "no"
}

// actionsOf returns the actions of a rule in short: what it does to whom it matches.
func actionsOf(r *pushrule.Rule) string {
	var parts []string
	for _, action := range r.Actions {
		var word string
		if json.Unmarshal([]byte(action), &word) == nil {
			parts = append(parts, word)
			continue
		}
		var tweak struct {
			Name  string          `json:"set_tweak"`
			Value json.RawMessage `json:"value"`
		}
		_ = json.Unmarshal([]byte(action), &tweak) // an action that is no tweak is shown by its name alone
		if parts = append(parts, tweak.Name); len(tweak.Value) > 0 {
			parts[len(parts)-1] += "=" + strings.Trim(string(tweak.Value), `"`)
		}
	}
	if len(parts) == 0 {
		return "do not notify"
	}
	return strings.Join(parts, ", ")
}
