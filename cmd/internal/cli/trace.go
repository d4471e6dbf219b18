package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/dispatcher/trace"
	"poked/events"
	"poked/events/stream"
)

// traceCmd is "poked trace".
type traceCmd struct {
	Operator operatorFlags `embed:""`
	Event    eventFlag     `arg:"" name:"event-id" help:"Event, such as $143273582443PhrSn."`
	User     userFlag      `env:"POKED_TRACE_USER" placeholder:"USER_ID" help:"Only this user. Otherwise everyone in the room of whom poked knows something."`
	Room     roomFlag      `env:"POKED_TRACE_ROOM" placeholder:"ROOM_ID" help:"The event's room. Without it all events of the last 72 hours are searched."`
	Rules    bool          `env:"POKED_TRACE_RULES" help:"Show for each push rule why it did not match."`
}

// Help is shown by kong under the command's summary.
func (traceCmd) Help() string {
	return "Tells why a phone rang for a message, or why it did not: whether poked received the event, whom it concerned, which push rule decided, " +
		"who has read it since, and what became of it at each pusher. It decides again, by the room and the push rules as they were at the event, as far as a user's " +
		"last 8 changes of rules go back, and the pushers of now; --rules shows all rules. What became of pokes is kept for --trace-for of the dispatcher (24h). " +
		"Content and pushkeys are not shown. Exit code 1 if poked has not received the event."
}

// Run prints the trace.
func (c *traceCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		progress := terminal.NewCounter(std.Err)
		t, err := trace.Run(ctx, conn, trace.Query{
			Event: events.EventID(c.Event), User: events.UserID(c.User), Room: events.RoomID(c.Room), Rules: c.Rules,
			Searched: func(done, all uint64) { progress.Reach("searching", int(done), int(all)) }, //nolint:gosec // sequences
		})
		progress.Clear()
		switch {
		case err != nil:
			return err
		case c.Operator.JSON:
			return terminal.PrintJSON(std.Out, t)
		}
		_, err = fmt.Fprint(std.Out, TraceText(t, time.Now()))
		return err
	})
}

// TraceText returns what "poked trace" prints: text that fits a screen.
//
//	$m  m.room.message by @alice:example.org in "Kitchen" (!r:example.org)
//	received 12:00:01.003, sequence 4711
//
//	@bob:example.org was to be notified: underride rule .m.rule.message notifies.
//	  Phone (Element X, push.example.org)
//	    Delivered at 12:00:01.020, 17ms after the event, at try 1.
func TraceText(t *trace.Trace, now time.Time) string {
	var b strings.Builder
	line := func(format string, args ...any) {
		b.WriteString(strings.Map(terminal.Harmless, fmt.Sprintf(format, args...)) + "\n")
	}
	if t.Seq > 0 {
		line("%s  %s by %s in %s", t.EventID, t.Type, t.Sender, t.RoomName())
		line("received %s, sequence %d%s", operate.Stamp(t.At), t.Seq, t.UnderWay())
	} else {
		line("%s", t.EventID)
	}
	if why := t.Because(); why != "" {
		line("%s", why)
	}
	if t.Redacted != nil {
		line("%s.", t.Redacted.Because())
	}
	for i := range t.Users {
		u := &t.Users[i]
		line("")
		line("%s %s", u.UserID, u.Because())
		if !u.RulesChanged.IsZero() {
			line("  The push rules were changed since, at %s, and those of then are gone: it may have been decided otherwise.", operate.Stamp(u.RulesChanged))
		}
		for _, r := range u.Rules {
			line("  %s", ruleLine(&r))
		}
		if u.Read != nil && u.Notified {
			line("  %s.", u.Read.Because())
		}
		for j := range u.Pushers {
			p := &u.Pushers[j]
			line("  %s", p.Name())
			line("    %s", p.Because(t, u, now))
			for _, a := range p.Attempts {
				line("      %s  try %d: %s%s, %.1f ms", operate.Stamp(a.At), a.Attempt, a.Outcome, a.Failure(), a.TookMS)
			}
		}
	}
	return b.String()
}

func ruleLine(r *trace.RuleResult) string {
	mark, why := resultOf(r)
	return fmt.Sprintf("%s %-9s %-36s %s", mark, r.Kind, r.RuleID, why)
}
