package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"poked/cmd/internal/node"
	"poked/cmd/internal/terminal"
	"poked/cmd/internal/testgateway"
)

// gatewayCmd is "poked gateway": a push gateway for trying things out.
type gatewayCmd struct {
	Listen     string        `default:"127.0.0.1:8722" env:"POKED_GATEWAY_LISTEN" placeholder:"ADDR" help:"Address where pokes arrive. It asks for no password and prints what people write: keep it on loopback."`
	Print      bool          `default:"true" negatable:"" env:"POKED_GATEWAY_PRINT" help:"Print one line for each poke."`
	JSON       bool          `name:"json" env:"POKED_GATEWAY_JSON" help:"Print each notification as a line of JSON instead, pushkeys included."`
	Answer     int           `default:"200" env:"POKED_GATEWAY_ANSWER" placeholder:"STATUS" help:"Answer each poke with this HTTP status, 200 to 599, to see how poked retries."`
	RetryAfter time.Duration `env:"POKED_GATEWAY_RETRY_AFTER" placeholder:"DURATION" help:"Add a Retry-After header to each answer, such as 30s."`
	Reject     []string      `env:"POKED_GATEWAY_REJECT" placeholder:"PUSHKEY" help:"Answer that these pushkeys no longer exist; * is each one. poked then removes their pushers."`
	Log        node.LogFlags `embed:"" group:"Log:"`
}

// Help is shown by kong under the command's summary.
func (gatewayCmd) Help() string {
	return "This gateway forwards nothing to a phone: it is for trying poked out, with a pusher whose data.url is " +
		"http://127.0.0.1:8722/_matrix/push/v1/notify. For real phones use Sygnal, ntfy or your app's own push gateway. " +
		"poked pokes it only with --gateway-allow 127.0.0.1 --gateway-allow-http. " +
		"A request that the Push Gateway API does not allow gets a status of 400."
}

// Validate is called by kong.
func (c *gatewayCmd) Validate() error {
	if _, _, err := node.SplitAddr(c.Listen); err != nil {
		return errors.New("--listen must be an address such as 127.0.0.1:8722")
	}
	if c.Answer < http.StatusOK || c.Answer > 599 {
		return errors.New("--answer must be an HTTP status from 200 to 599")
	}
	if c.RetryAfter != 0 && c.RetryAfter < time.Second {
		return errors.New("--retry-after must be at least 1s: the header counts seconds")
	}
	return nil
}

// Run accepts pokes until ctx ends.
func (c *gatewayCmd) Run(ctx context.Context, std terminal.Streams) error {
	log := c.Log.Logger(std.Err)
	g, err := testgateway.Listen(ctx, c.Listen)
	if err != nil {
		return err
	}
	defer func() { _ = g.Close() }() // after Run there is nothing to close
	log.Info("poked is ready", "gateway", g.URL())
	printer := gatewayPrinter{out: std.Out, width: terminal.Width(std.Out)}
	return g.Run(ctx, log, func(_ context.Context, p *testgateway.Poke) (testgateway.Answer, error) {
		answer := c.answer(p)
		if p.Refusal != nil {
			log.Warn("a request that is no poke was refused", "status", answer.Status, "error", answer.Error)
			return answer, nil
		}
		switch {
		case c.JSON:
			return answer, printer.json(p)
		case c.Print:
			return answer, printer.line(p, answer)
		}
		return answer, nil
	})
}

// answer returns the answer to a request.
func (c *gatewayCmd) answer(p *testgateway.Poke) testgateway.Answer {
	if p.Refusal != nil {
		return *p.Refusal
	}
	a := testgateway.Answer{Status: c.Answer, ErrCode: "M_UNKNOWN", Error: "the gateway answers this because of --answer", Retry: c.RetryAfter}
	for _, device := range p.Notification.Devices {
		if slices.Contains(c.Reject, device.Pushkey) || slices.Contains(c.Reject, "*") {
			a.Rejected = append(a.Rejected, device.Pushkey)
		}
	}
	return a
}

// gatewayPrinter prints pokes, each in a line.
type gatewayPrinter struct {
	width int // of a line, in columns

	mu     sync.Mutex // guards what follows
	out    io.Writer
	headed bool
}

// json prints the notification unchanged.
func (g *gatewayPrinter) json(p *testgateway.Poke) error {
	var body struct {
		Notification json.RawMessage `json:"notification"`
	}
	var line bytes.Buffer
	if err := errors.Join(json.Unmarshal(p.Body, &body), json.Compact(&line, body.Notification)); err != nil {
		return fmt.Errorf("encode notification: %w", err)
	}
	return g.write("", line.String())
}

// line prints the readable part of a poke, below a header the first time.
func (g *gatewayPrinter) line(p *testgateway.Poke, a testgateway.Answer) error {
	n := &p.Notification
	unread, answer := "", strconv.Itoa(a.Status)
	if n.Counts.Unread != nil {
		unread = strconv.Itoa(*n.Counts.Unread)
	}
	if len(a.Rejected) > 0 && a.Status < http.StatusMultipleChoices {
		answer = "rejected"
	}
	room := cmp.Or(n.RoomName, n.RoomAlias, string(n.RoomID))
	head := gatewayColumns("time", "answer", "prio", "unread", "pusher", "room") + "what"
	line := gatewayColumns(p.At.Format("15:04:05.000"), answer, n.How(), unread, pushersOf(n), room) + n.What()
	return g.write(head, terminal.Fit(line, g.width))
}

func (g *gatewayPrinter) write(head, line string) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if head != "" && !g.headed {
		line = head + "\n" + line
	}
	g.headed = true
	if _, err := io.WriteString(g.out, line+"\n"); err != nil {
		return fmt.Errorf("print poke: %w", err)
	}
	return nil
}

func gatewayColumns(at, answer, how, unread, pusher, room string) string {
	return fmt.Sprintf("%s  %s  %s  %6s  %s  %s  ", terminal.Pad(at, 12), terminal.Pad(answer, 8), terminal.Pad(how, 14),
		unread, terminal.Pad(pusher, 23), terminal.Pad(room, 12))
}

// pushersOf returns the devices of a poke; their user is not part of the API. Of a pushkey,
// which is a secret, it shows only the beginning.
func pushersOf(n *testgateway.Notification) string {
	const short, shown = 8, 6
	var names []string
	for _, device := range n.Devices {
		pushkey := device.Pushkey
		if len(pushkey) > short {
			pushkey = strings.ToValidUTF8(pushkey[:shown], "") + "…"
		}
		names = append(names, device.AppID+" "+pushkey)
	}
	return strings.Join(names, ", ")
}
