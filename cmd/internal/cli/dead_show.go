package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"strconv"
	"strings"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events/operator"
	"poked/events/stream"
)

// deadShowCmd is "poked dead show".
type deadShowCmd struct {
	Operator operatorFlags `embed:""`
	Seqs     []uint64      `arg:"" name:"seq" help:"Numbers of the dead letters to show (SEQ in the list)."`
	Content  bool          `env:"POKED_DEAD_CONTENT" help:"Also show the message: the notification with the event's content, or the message that could not be read."`
}

// Help is shown by kong under the command's summary.
func (deadShowCmd) Help() string {
	return "A pusher is shown as a digest, never as its pushkey. Exit code 1 if a dead letter does not exist."
}

// Run prints the dead letters.
func (c *deadShowCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		for line, err := range operate.WithNames(ctx, conn, warnMissing(std.Err), c.lines(ctx, operator.NewClient(conn))) {
			if err := cmp.Or(err, c.print(std.Out, &line)); err != nil {
				return err
			}
		}
		return nil
	})
}

// lines yields the dead letters.
func (c *deadShowCmd) lines(ctx context.Context, client *operator.Client) iter.Seq2[operate.Letter, error] {
	return func(yield func(operate.Letter, error) bool) {
		for _, seq := range c.Seqs {
			letter, err := client.DeadLetter(ctx, seq)
			line := operate.LetterOf(&letter)
			if c.Content {
				line.Message = contentOf(&letter)
			}
			if !yield(line, err) || err != nil {
				return
			}
		}
	}
}

// contentOf returns the message of a dead letter: JSON as it is, anything else as a
// string. A rejection may contain a pushkey, which is a secret, and is not shown.
func contentOf(l *operator.StoredDeadLetter) any {
	switch {
	case strings.HasPrefix(l.Subject, "rejected."):
		return "not shown, because it may contain a pushkey"
	case json.Valid(l.Message):
		return json.RawMessage(l.Message)
	}
	return strings.ToValidUTF8(string(l.Message), "\uFFFD")
}

func (c *deadShowCmd) print(out io.Writer, line *operate.Letter) error {
	if c.Operator.JSON {
		return terminal.PrintJSON(out, line)
	}
	var text strings.Builder
	text.WriteString(terminal.Details([][2]string{
		{"seq", strconv.FormatUint(line.Seq, 10)}, {"written", operate.Stamp(line.At)}, {"reason", string(line.Reason)}, {"detail", line.Detail},
		{"user", string(line.UserID)}, {"room", string(line.RoomID)}, {"event", string(line.EventID)},
		{"device", line.Device}, {"app", line.AppID}, {"pusher", string(line.Pusher)}, {"attempts", strconv.Itoa(line.Attempts)},
		{"last error", line.LastError}, {"subject", line.Subject}, {"bytes", strconv.Itoa(line.Bytes)},
	}))
	if line.Message != nil {
		text.WriteString(readable(line.Message))
	}
	if _, err := fmt.Fprintln(out, text.String()); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// readable returns a message, indented and without terminal control characters.
func readable(message any) string {
	var indented bytes.Buffer
	switch message := message.(type) {
	case json.RawMessage:
		_ = json.Indent(&indented, message, "", "  ") // it is valid
	default:
		_, _ = fmt.Fprint(&indented, message)
	}
	var text strings.Builder
	for line := range strings.Lines(indented.String()) {
		text.WriteString(strings.Map(terminal.Harmless, strings.TrimRight(line, "\r\n")) + "\n")
	}
	return text.String()
}
