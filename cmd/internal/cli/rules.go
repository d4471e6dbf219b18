package cli

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/stream"
)

// rulesCmd is "poked rules".
type rulesCmd struct {
	Operator operatorFlags `embed:""`
	User     userFlag      `arg:"" name:"user-id" help:"User, such as @alice:example.org."`
}

// Help is shown by kong under the command's summary.
func (rulesCmd) Help() string {
	return "Shows the rules in the order in which they are evaluated, as dispatchers have them, and where they come from: " +
		"the homeserver's ruleset, changes made at poked's registry, or the predefined rules of the Matrix specification alone."
}

// Run prints the rules.
func (c *rulesCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		rules, err := operate.RulesOf(ctx, conn, events.UserID(c.User))
		if err != nil {
			return err
		}
		if c.Operator.JSON {
			return terminal.PrintJSON(std.Out, rules)
		}
		return printRules(std, rules)
	})
}

func printRules(std terminal.Streams, e *operate.Rules) error {
	if _, err := fmt.Fprintf(std.Out, "%s: %s\n\n", e.UserID, e.Because()); err != nil {
		return err
	}
	table := terminal.NewTable(std.Out, []terminal.Column{
		{Title: "KIND"}, {Title: "RULE", Least: 20}, {Title: "ON"}, {Title: "ACTIONS", Least: 20},
	})
	for kind, r := range e.Rules.InOrder() {
		if err := table.Add([]string{string(kind), r.ID, yes(r.Enabled), operate.ActionsOf(r)}); err != nil {
			return err
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	return printOtherRules(std, e)
}

// printOtherRules prints what applies beside the rules for all devices.
func printOtherRules(std terminal.Streams, e *operate.Rules) error {
	var b strings.Builder
	for _, handle := range slices.Sorted(maps.Keys(e.Devices)) {
		fmt.Fprintf(&b, "\nThe device %s has rules of its own, evaluated before these: see --json.\n", strings.Map(terminal.Harmless, handle))
	}
	if e.Quiet != nil {
		fmt.Fprintf(&b, "\nDo not disturb: %s%s\n", strings.Map(terminal.Harmless, fmt.Sprint(e.Quiet.Rooms)), butHighlights(e.Quiet))
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

func butHighlights(quiet *events.DoNotDisturb) string {
	if quiet.Highlights {
		return ", but for highlights"
	}
	return ""
}
