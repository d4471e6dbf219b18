package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/dispatcher/match"
	"poked/events"
	"poked/events/stream"
)

// roomCmd is "poked room".
type roomCmd struct {
	Operator operatorFlags `embed:""`
	Room     roomFlag      `arg:"" name:"room-id" help:"Room, such as !cURbafjkfsMDVwdRDQ:example.org."`
}

// Help is shown by kong under the command's summary.
func (roomCmd) Help() string {
	return "Shows the state by which poked decides who in the room is notified. Exit code 1 if nothing was published of the room."
}

// Run prints the room.
func (c *roomCmd) Run(ctx context.Context, std terminal.Streams) error {
	return c.Operator.with(ctx, std, func(conn *stream.Conn) error {
		if err := conn.Join(ctx); err != nil {
			return err
		}
		d, err := match.Describe(ctx, conn, events.RoomID(c.Room))
		switch {
		case err != nil:
			return err
		case !d.Known && d.Last == nil && len(d.Members) == 0:
			return fmt.Errorf("nothing was published of room %s", c.Room)
		case c.Operator.JSON:
			return terminal.PrintJSON(std.Out, d)
		}
		if _, err := fmt.Fprint(std.Out, roomText(d)); err != nil {
			return err
		}
		table := terminal.NewTable(std.Out, []terminal.Column{
			{Title: "MEMBER"}, {Title: "MEMBERSHIP"}, {Title: "POWER"}, {Title: "DISPLAY NAME", Least: 12},
		})
		for _, m := range d.Members {
			if err := table.Add([]string{string(m.UserID), m.Membership, strconv.FormatInt(m.Level, 10), orDash(m.DisplayName)}); err != nil {
				return err
			}
		}
		return table.Flush()
	})
}

func roomText(d *match.Description) string {
	var b strings.Builder
	field := func(name, format string, args ...any) {
		b.WriteString(strings.Map(terminal.Harmless, fmt.Sprintf("%-16s ", name+":")+fmt.Sprintf(format, args...)) + "\n")
	}
	field("room", "%s", d.RoomID)
	if !d.Known {
		field("incomplete", "its m.room.create was never published, so poked may lack state")
	}
	field("version", "%s", orDash(d.Version))
	field("name", "%s", orDash(d.Name))
	field("alias", "%s", orDash(d.Alias))
	field("creator", "%s", orDash(d.Creator))
	field("joined members", "%d", d.Joined)
	field("power for @room", "%d", d.RoomLevel)
	if d.First != nil {
		field("events since", "%s (the last 72 hours are kept)", operate.Stamp(d.First.At))
		field("newest event", "%s %s, %s", orDash(d.Last.EventID), orDash(d.Last.Type), operate.Stamp(d.Last.At))
	} else {
		field("newest event", "more than 72 hours ago")
	}
	return b.String() + "\n"
}
