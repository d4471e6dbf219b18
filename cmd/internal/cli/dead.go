package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// deadCmd is "poked dead". It reads and changes the stream DEAD directly, so no dispatcher
// has to run.
type deadCmd struct {
	List  deadListCmd  `cmd:"" help:"List dead letters, oldest first."`
	Show  deadShowCmd  `cmd:"" help:"Show dead letters in full."`
	Retry deadRetryCmd `cmd:"" help:"Retry dead letters."`
	Drop  deadDropCmd  `cmd:"" help:"Delete dead letters."`
}

// deadFlags select dead letters.
type deadFlags struct {
	User   userFlag          `env:"POKED_DEAD_USER" placeholder:"USER_ID" help:"Only dead letters of this user."`
	Room   roomFlag          `env:"POKED_DEAD_ROOM" placeholder:"ROOM_ID" help:"Only dead letters of this room."`
	Reason events.DeadReason `env:"POKED_DEAD_REASON" placeholder:"REASON" help:"Only dead letters with this reason: expired, refused, skipped, bad_event, bad_receipt, bad_notification, bad_message, bad_value or unreadable."`
	AppID  appFlag           `name:"app-id" env:"POKED_DEAD_APP_ID" placeholder:"APP_ID" help:"Only pokes of this app."`
	Since  momentFlag        `env:"POKED_DEAD_SINCE" placeholder:"AGO|TIME" help:"Only dead letters written since then: a duration such as 36h, or a time such as 2026-01-31T12:00:00Z."`
	Until  momentFlag        `env:"POKED_DEAD_UNTIL" placeholder:"AGO|TIME" help:"Only dead letters written until then, in the same format."`
	Seq    []uint64          `env:"POKED_DEAD_SEQ" placeholder:"SEQ,..." help:"Only the dead letters with these numbers (SEQ in the list)."`
}

func (f *deadFlags) filter() operator.DeadFilter {
	now := time.Now()
	return operator.DeadFilter{
		User: events.UserID(f.User), Room: events.RoomID(f.Room), Reason: f.Reason, AppID: string(f.AppID),
		Since: f.Since.before(now), Until: f.Until.before(now), Seqs: f.Seq,
	}
}

// Validate is called by kong.
func (f *deadFlags) Validate() error {
	if f.Reason == "" || f.Reason == events.DeadUnreadable || slices.Contains(events.DeadReasons(), f.Reason) {
		return nil
	}
	return errors.New("--reason must be expired, refused, skipped, bad_event, bad_receipt, bad_notification, bad_message, bad_value or unreadable")
}

// momentFlag is a point in time, given as such or as a duration before now.
type momentFlag struct {
	ago time.Duration
	at  time.Time
}

// UnmarshalText reads a duration that is not negative, or a time of RFC 3339.
func (f *momentFlag) UnmarshalText(text []byte) (err error) {
	if f.at, err = time.Parse(time.RFC3339, string(text)); err == nil {
		return nil
	}
	f.ago, err = time.ParseDuration(string(text))
	if err != nil || f.ago <= 0 {
		return errors.New("want a duration such as 36h or a time such as 2026-01-31T12:00:00Z")
	}
	return nil
}

// before returns the point in time, or the zero time if the flag was not given.
func (f momentFlag) before(now time.Time) time.Time {
	if f.ago > 0 {
		return now.Add(-f.ago)
	}
	return f.at
}

// deadListCmd is "poked dead list".
type deadListCmd struct {
	Operator operatorFlags `embed:""`
	List     listFlags     `embed:""`
	Dead     deadFlags     `embed:""`
	Limit    int           `default:"100" env:"POKED_DEAD_LIST_LIMIT" placeholder:"N" help:"Maximum number to list; 0 means all."`
}

// Help is shown by kong under the command's summary.
func (deadListCmd) Help() string {
	return "A pusher is shown as a digest, never as its pushkey. Message content is not printed; " +
		"for that use poked dead show --content."
}

// Validate is called by kong.
func (c *deadListCmd) Validate() error { return checkLimit(c.Limit) }

func checkLimit(limit int) error {
	if limit < 0 {
		return errors.New("--limit must not be negative")
	}
	return nil
}

// Run prints the letters.
func (c *deadListCmd) Run(ctx context.Context, std terminal.Streams) error {
	columns := []terminal.Column{
		{Title: "SEQ"}, {Title: "ATTEMPTS", Under: true},
		{Title: "WRITTEN"}, {Title: "REASON", Under: true}, {Title: "LAST ERROR", Under: true, Least: 20},
		{Title: "USER", Least: 12}, {Title: "ROOM", Under: true, Least: 12}, {Title: "EVENT", Under: true, Least: 12},
		{Title: "DEVICE", Least: 12}, {Title: "APP", Under: true, Least: 12}, {Title: "PUSHER", Under: true},
	}
	p := newPrinter(std, c.Operator.JSON, c.List, "no dead letter matches", columns, deadCells)
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		letters := operate.Letters(operator.NewClient(conn).DeadLetters(ctx, c.Dead.filter()), c.Limit)
		count := 0
		for line, err := range operate.WithNames(ctx, conn, warnMissing(std.Err), letters) {
			if count++; err == nil && c.Limit > 0 && count > c.Limit {
				_, _ = fmt.Fprintf(std.Err, "only the oldest %d are listed; --limit 0 lists all\n", c.Limit) // what counts is the list
				break
			}
			if err := cmp.Or(err, p.print(line)); err != nil {
				return err
			}
		}
		return p.finish()
	})
}

func deadCells(l operate.Letter) []string {
	failure := l.LastError
	if failure == "" {
		failure = l.Detail
	}
	return []string{
		strconv.FormatUint(l.Seq, 10), countOrDash(l.Attempts), operate.Stamp(l.At), string(l.Reason), orDash(failure),
		orDash(l.UserID), orDash(l.RoomID), orDash(l.EventID), orDash(l.Device), orDash(l.AppID), orDash(l.Pusher),
	}
}
