package cli

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode"

	"poked/events/pushrule"
)

// printBlock prints an explanation as text: a line with the answer, then one line for each
// rule, with a star for the one that matched.
//
//	line 1: content rule "cake" matched: "notify", {"set_tweak":"highlight"}
//	    override   .m.rule.master            disabled
//	    override   .m.rule.suppress_notices  event_match content.msgtype "m.notice": no match
//	  * content    cake                      matched
//	    underride  .m.rule.message           content rule "cake" matched before
func printBlock(out io.Writer, line int, isWhole bool, o *pushrule.Outcome, explained []pushrule.Explanation) error {
	var block strings.Builder
	fmt.Fprintf(&block, "line %d: %s\n", line, printable(headline(isWhole, o)))
	table := tabwriter.NewWriter(&block, 0, 0, 2, ' ', 0)
	for i := range explained {
		e := &explained[i]
		mark, why := resultOf(e)
		// A strings.Builder never fails.
		_, _ = fmt.Fprintf(table, "  %s %s\t%s\t%s\n", mark, e.Kind, printable(e.RuleID), printable(why))
	}
	_ = table.Flush()
	if _, err := io.WriteString(out, block.String()); err != nil {
		return fmt.Errorf("print answer: %w", err)
	}
	return nil
}

// resultOf returns the mark of a rule, a star for the one that matched, and why it did not.
func resultOf(e *pushrule.Explanation) (mark, why string) {
	if e.Matched {
		return "*", "matched"
	}
	return " ", strings.Join(e.Why, "; ")
}

func headline(isWhole bool, o *pushrule.Outcome) string {
	switch {
	case !isWhole && o != nil:
		return "match"
	case !isWhole:
		return "no match"
	case o == nil:
		return "no rule matched"
	}
	actions := "does nothing"
	if len(o.Actions) > 0 {
		texts := make([]string, len(o.Actions))
		for i, action := range o.Actions {
			texts[i] = string(action)
		}
		actions = strings.Join(texts, ", ")
	}
	return fmt.Sprintf("%s rule %q matched: %s", o.Kind, o.RuleID, actions)
}

// printable replaces what is not printable, such as terminal escapes, in the text of a rule.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}
