package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"poked/cmd/internal/terminal"
	"poked/events/pushrule"
)

// pushruleCmd is "poked pushrule", which answers: why was I (not) notified?
type pushruleCmd struct {
	Explain bool `env:"POKED_PUSHRULE_EXPLAIN" help:"Show for every rule, in order of evaluation, whether it matched and why not."`
	JSON    bool `name:"json" env:"POKED_PUSHRULE_JSON" help:"Print the explanation as JSON, in \"explain\" of the answer."`
}

// Help is shown by kong under the command's summary.
func (pushruleCmd) Help() string {
	return `Reads questions from standard input, one JSON object of at most 1 MiB per line:

  {"ruleset": {"override": [...], "content": [...], ...}, "event": {...}, "context": {"user_id": "@me:example.org"}}

"ruleset" is a user's rules as clients see them under "global", or "spec-v1.19-defaults". Give "condition", or "rule" and its "kind", instead to evaluate only that. The event is in the client-server format.

Fields of the context, which are empty or 0 if omitted: user_id, display_name, room_member_count, sender_power_levels ({"users": {...}, "users_default": 0}), notification_levels ({"room": 50}), room_version and room_creators (all-powerful since room version 12), thread_subscription (true or false), related_events ({"m.in_reply_to": {...}}).

The answer to a ruleset is {"rule_id", "kind", "actions"} of the rule that matched, null if none did; to a condition or a rule it is {"match"}. A user's own events match no rule. --explain prints readable text instead, or JSON with --json.

The answer to an invalid line is {"error"}. The other lines are still answered; the exit code is 2.`
}

// maxQuestionBytes is how long a line may be.
const maxQuestionBytes = 1 << 20

// badInputError reports lines of the input that could not be read.
type badInputError struct {
	count int
	first error
}

func (e badInputError) Error() string {
	if e.count == 1 {
		return e.first.Error()
	}
	return fmt.Sprintf("%v; %d bad lines in all", e.first, e.count)
}

// Run answers every line.
func (c *pushruleCmd) Run(ctx context.Context, std terminal.Streams) error {
	var bad badInputError
	for rec, err := range readLines("stdin", std.In, maxQuestionBytes) {
		if err != nil {
			return err
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		err = c.answer(std.Out, rec)
		if unread := new(badLineError); errors.As(err, unread) {
			if bad.count++; bad.count == 1 {
				bad.first = err
			}
			err = terminal.PrintJSON(std.Out, map[string]string{"error": err.Error()})
		}
		if err != nil {
			return err
		}
	}
	if bad.count > 0 {
		return bad
	}
	return nil
}

// badLineError is the reason why a line could not be read.
type badLineError struct {
	line int
	err  error
}

func (e badLineError) Error() string { return fmt.Sprintf("line %d: %v", e.line, e.err) }

func (c *pushruleCmd) answer(out io.Writer, rec record) error {
	if rec.raw == nil || len(rec.raw) > maxQuestionBytes {
		return badLineError{rec.line, errors.New("longer than 1 MiB")}
	}
	question, err := pushrule.ParseQuestion(rec.raw)
	if err != nil {
		return badLineError{rec.line, err}
	}
	outcome := pushrule.Compile(&question.Rules, question.User.ID).Evaluate(question.Event, question.User)
	var explained []pushrule.Explanation
	if c.Explain {
		explained = pushrule.Explain(&question.Rules, question.Event, question.User)
	}
	switch {
	case c.Explain && !c.JSON:
		return printBlock(out, rec.line, question.IsWhole, outcome, explained)
	case question.IsWhole:
		return terminal.PrintJSON(out, newRulesetAnswer(outcome, explained))
	}
	return terminal.PrintJSON(out, matchAnswer{Match: outcome != nil, Explain: explained})
}

// matchAnswer is the answer for a condition or a rule.
type matchAnswer struct {
	Match   bool                   `json:"match"`
	Explain []pushrule.Explanation `json:"explain,omitzero"`
}

// rulesetAnswer is the answer for a ruleset; the first two fields are null if no rule matched.
type rulesetAnswer struct {
	RuleID  *string                `json:"rule_id"`
	Kind    *pushrule.Kind         `json:"kind"`
	Actions []pushrule.Action      `json:"actions"`
	Explain []pushrule.Explanation `json:"explain,omitzero"`
}

func newRulesetAnswer(o *pushrule.Outcome, explained []pushrule.Explanation) rulesetAnswer {
	answer := rulesetAnswer{Actions: []pushrule.Action{}, Explain: explained}
	if o != nil {
		answer.RuleID, answer.Kind, answer.Actions = &o.RuleID, &o.Kind, o.Actions
	}
	return answer
}
