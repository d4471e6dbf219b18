package node

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"time"

	"poked/events"
)

// A deployment tells its operators, by a webhook, what they should look at. A notice is sent
// once its cause has lasted for --notify-after, and another once that is over, so that what
// flaps sends nothing:
//
//	gateway_down       a push gateway does not answer     ─▶ gateway_recovered, or gateway_idle: nothing waits for it
//	pushers_failing    many pushers have a backlog        ─▶ pushers_recovered
//	dead_letters       poked has given up on something    ─▶ again after a while, with the new ones
//
// One dispatcher speaks for all: the one that owns the delivery of partition 0 asks each for what
// it sees. Nothing is stored: after a restart, or once another dispatcher owns that partition,
// what lasts is reported again. A notice that cannot be sent is tried again until it
// is; of very many the oldest are dropped and logged. It holds no user, pushkey or content.

// NotifyFlags configure the notices.
type NotifyFlags struct {
	URL     string        `name:"notify-url" env:"POKED_NOTIFY_URL" placeholder:"URL" help:"Post notices for operators to this webhook, as JSON with a readable \"text\": a push gateway is down or works again, many pushers fail, dead letters were written. The URL is kept out of the log."`
	After   time.Duration `name:"notify-after" default:"5m" env:"POKED_NOTIFY_AFTER" placeholder:"DURATION" help:"How long a cause must last, or be over, before its notice."`
	Lagging uint64        `name:"notify-lagging" default:"100" env:"POKED_NOTIFY_LAGGING" placeholder:"N" help:"How many pushers with a backlog are many."`
}

// minNotifyAfter is the shortest --notify-after.
const minNotifyAfter = time.Second

// Validate is called by kong.
func (f NotifyFlags) Validate() error {
	if f.URL == "" {
		return nil
	}
	u, err := url.Parse(f.URL)
	if err != nil || u.Host == "" || u.Scheme != "https" && u.Scheme != "http" {
		return errors.New("--notify-url must be a URL that begins with https:// or http://") // it may hold a secret
	}
	if f.After < minNotifyAfter {
		return fmt.Errorf("--notify-after must be at least %s", minNotifyAfter)
	}
	if f.Lagging < 1 {
		return errors.New("--notify-lagging must be at least 1")
	}
	return nil
}

// noticeKind is what a notice is about.
type noticeKind string

const (
	gatewayDown      noticeKind = "gateway_down"
	gatewayRecovered noticeKind = "gateway_recovered"
	gatewayIdle      noticeKind = "gateway_idle"
	pushersFailing   noticeKind = "pushers_failing"
	pushersRecovered noticeKind = "pushers_recovered"
	deadLetters      noticeKind = "dead_letters"
)

// notice is the body of a request to the webhook.
type notice struct {
	Text    string     `json:"text"` // for people
	Kind    noticeKind `json:"notice"`
	At      time.Time  `json:"at"`
	Gateway string     `json:"gateway,omitempty"` // origin
	Error   string     `json:"error,omitempty"`   // the gateway's last failure
	Count   uint64     `json:"count,omitempty"`   // of pushers, or of dead letters
}

// cause is something that is, or is not, since a time, and whether that was reported.
type cause struct {
	is, reported bool
	since        time.Time
}

// turn records whether the cause is there, and reports whether that has lasted long enough
// to be reported.
func (c *cause) turn(is bool, now time.Time, after time.Duration) bool {
	if is != c.is || c.since.IsZero() {
		c.is, c.since = is, now
	}
	if c.is == c.reported || now.Sub(c.since) < after {
		return false
	}
	c.reported = c.is
	return true
}

// noticeWatch decides what to report.
type noticeWatch struct {
	flags    NotifyFlags
	gateways map[string]*cause
	pushers  cause
	dead     uint64    // not reported yet
	deadAt   time.Time // when unreported ones were first seen
	quiet    time.Time // until when further dead letters are collected
}

// forget makes the watch new: another dispatcher reports now.
func (w *noticeWatch) forget() { *w = noticeWatch{flags: w.flags, gateways: map[string]*cause{}} }

// deadPause is after how many times --notify-after further dead letters are reported.
const deadPause = 12

// look returns what has to be reported of a state.
func (w *noticeWatch) look(o observed, now time.Time) (list []notice) {
	list = w.lookAtGateways(o.gateways, now)
	failing := o.lagging >= w.flags.Lagging || w.pushers.reported && o.lagging > w.flags.Lagging/2
	if w.pushers.turn(failing, now, w.flags.After) {
		n := notice{Kind: pushersRecovered, Count: o.lagging, Text: fmt.Sprintf("Few pushers have a backlog again: %d.", o.lagging)}
		if failing {
			n.Kind, n.Text = pushersFailing, fmt.Sprintf("%d pushers have a backlog: see poked pushers --state lagging.", o.lagging)
		}
		list = append(list, n)
	}
	if n, ok := w.lookAtDead(o.dead, now); ok {
		list = append(list, n)
	}
	for i := range list {
		list[i].At = now.UTC()
	}
	return list
}

func (w *noticeWatch) lookAtGateways(states []events.GatewayState, now time.Time) (list []notice) {
	seen := map[string]bool{}
	for i := range states {
		g := &states[i]
		seen[g.Origin] = true
		down := isDown(g)
		c := w.gateways[g.Origin]
		if c == nil {
			if !down {
				continue
			}
			c = &cause{}
			w.gateways[g.Origin] = c
		}
		switch {
		case !c.turn(down, now, w.flags.After):
			if !c.is && !c.reported {
				delete(w.gateways, g.Origin)
			}
		case down:
			list = append(list, notice{
				Kind: gatewayDown, Gateway: g.Origin, Error: g.LastError, Count: uint64(max(g.Lagging, 0)),
				Text: fmt.Sprintf("The push gateway %s does not answer since %s (%s); %d pushers wait.",
					g.Origin, c.since.UTC().Format(time.RFC3339), cmp.Or(g.LastError, "no error"), g.Lagging),
			})
		default:
			list = append(list, notice{Kind: gatewayRecovered, Gateway: g.Origin, Text: "The push gateway " + g.Origin + " answers again."})
		}
	}
	for origin, c := range w.gateways {
		if seen[origin] {
			continue
		}
		if delete(w.gateways, origin); c.reported {
			list = append(list, notice{Kind: gatewayIdle, Gateway: origin, Text: "Nothing waits for the push gateway " + origin + " any more, which did not answer."})
		}
	}
	slices.SortFunc(list, func(a, b notice) int { return cmp.Compare(a.Gateway, b.Gateway) })
	return list
}

func (w *noticeWatch) lookAtDead(more uint64, now time.Time) (notice, bool) {
	if w.dead += more; w.dead == 0 {
		return notice{}, false
	}
	if w.deadAt.IsZero() {
		w.deadAt = now
	}
	if now.Sub(w.deadAt) < w.flags.After || now.Before(w.quiet) {
		return notice{}, false
	}
	n := w.dead
	w.dead, w.deadAt, w.quiet = 0, time.Time{}, now.Add(deadPause*w.flags.After)
	return notice{Kind: deadLetters, Count: n, Text: fmt.Sprintf("%d pokes or messages became dead letters: see poked dead list.", n)}, true
}

// notices watches a deployment and posts what there is to report.
type notices struct {
	watch   noticeWatch
	pending []notice
	client  *http.Client
	log     *slog.Logger
}

const (
	noticeTimeout = 10 * time.Second
	noticePause   = 10 * time.Second // between two looks, at most
	maxPending    = 100
)

func newNotices(flags NotifyFlags, log *slog.Logger) *notices {
	return &notices{
		watch: noticeWatch{flags: flags, gateways: map[string]*cause{}}, log: log,
		client: &http.Client{
			Timeout: noticeTimeout, Transport: &http.Transport{Proxy: http.ProxyFromEnvironment},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// run watches the deployment until ctx ends.
func (n *notices) run(ctx context.Context, all *deployment) error {
	defer n.client.CloseIdleConnections()
	tick := time.NewTicker(min(noticePause, n.watch.flags.After/4))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			n.look(ctx, all, now)
		}
		if more := len(n.pending) - maxPending; more > 0 {
			n.log.Error("notices were dropped, the webhook does not take them", "count", more)
			n.pending = n.pending[more:]
		}
		for len(n.pending) > 0 {
			if err := n.post(ctx, &n.pending[0]); err != nil {
				n.log.Warn("a notice was not sent, trying again", "notice", string(n.pending[0].Kind), "error", err)
				break
			}
			n.pending = n.pending[1:]
		}
	}
}

// look adds what has to be reported now, if it is on this dispatcher to report.
func (n *notices) look(ctx context.Context, all *deployment, now time.Time) {
	state, leads, err := all.look(ctx)
	switch {
	case err != nil: // half of the deployment is no reason for a notice; the next look may see all of it
		n.log.Debug("no look at the dispatchers for notices", "error", err)
	case leads:
		n.pending = append(n.pending, n.watch.look(state, now)...)
	default:
		n.watch.forget()
	}
}

// post sends one notice. The error does not hold the URL, which may be a secret.
func (n *notices) post(ctx context.Context, what *notice) error {
	body, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("encode notice: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, n.watch.flags.URL, bytes.NewReader(body))
	if err != nil {
		return errors.New("post notice: the URL is not valid")
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := n.client.Do(request)
	var failure *url.Error
	if errors.As(err, &failure) {
		err = failure.Err
	}
	if err != nil {
		return fmt.Errorf("post notice: %w", err)
	}
	_ = response.Body.Close() // its content does not matter
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("post notice: the webhook answered %d", response.StatusCode)
	}
	return nil
}
