package live

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"poked/events/wait"
)

// outage is the state of the part in which something is away.
type outage struct {
	*world

	alice     *user
	room      string
	said      int
	receivers []string // pushkeys
}

// Pace of the messages in an outage.
const (
	perPhase = 12
	between  = 20 * time.Millisecond
)

// outages kills poked and the homeserver, and makes the gateway fail, while alice talks to two
// users. Every message must arrive, in order, and once.
func (w *world) outages(ctx context.Context, r *report) error {
	o := &outage{world: w, receivers: []string{"dave-out", "frank-out"}}
	if err := o.meet(ctx); err != nil {
		return err
	}
	for _, c := range []struct {
		name string
		do   func(context.Context) ([]string, error)
		both bool // it concerns Dendrite's own push as well
	}{
		{"poked is killed twice and started again", o.pokedKilled, false},
		{"the homeserver is killed and started again", o.homeserverKilled, true},
		{"poked's gateway answers 503 for 5 s", o.gatewayDown, false},
	} {
		said, err := c.do(ctx)
		if err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
		row := o.row(ctx, c.name, said)
		if !c.both {
			row.theirs = "–"
		}
		r.add(row)
	}
	return ctx.Err()
}

// meet makes a room of alice, dave and frank, whose pushers are at both.
func (o *outage) meet(ctx context.Context) error {
	var err error
	if o.alice, err = login(ctx, o.proxy, "alice", "alice-out"); err != nil {
		return err
	}
	answer, err := o.alice.ask(ctx, "POST", "v3/createRoom", object{"preset": "private_chat", "name": "Outage", "invite": []string{userID("dave"), userID("frank")}})
	if err != nil {
		return err
	}
	o.room = answer.Get("room_id").Str
	for _, pushkey := range o.receivers {
		name, _, _ := strings.Cut(pushkey, "-")
		u, err := login(ctx, o.proxy, name, pushkey)
		if err != nil {
			return err
		}
		if _, err := u.ask(ctx, "POST", "v3/rooms/"+escape(o.room)+"/join", object{}); err != nil {
			return err
		}
		if err := u.setPusher(ctx, "org.example.app", pushkey, o.ours.gateway.URL(), nil); err != nil {
			return err
		}
		theirs := *u
		theirs.base = o.homeserver
		if err := theirs.setPusher(ctx, "org.example.shadow", pushkey, o.theirs.gateway.URL(), nil); err != nil {
			return err
		}
	}
	return nil
}

// say sends messages until the homeserver has taken each, and returns their ids.
func (o *outage) say(ctx context.Context, n int) (said []string, err error) {
	for range n {
		o.said++
		path := fmt.Sprintf("v3/rooms/%s/send/m.room.message/out%d", escape(o.room), o.said) // repeated, it is the same event
		err := wait.Until(ctx, 200*time.Millisecond, nil, func() error {
			answer, err := o.alice.ask(ctx, "PUT", path, text(fmt.Sprint("message ", o.said)))
			if err == nil {
				said = append(said, answer.Get("event_id").Str)
			}
			return err
		})
		if err != nil {
			return said, err
		}
		<-time.After(between)
	}
	return said, nil
}

// sayThrough sends messages in phases, and does something between two of them.
func (o *outage) sayThrough(ctx context.Context, between ...func() error) (all []string, err error) {
	for i := 0; ; i++ {
		said, err := o.say(ctx, perPhase)
		all = append(all, said...)
		if err != nil || i == len(between) {
			return all, err
		}
		if err := between[i](); err != nil {
			return all, err
		}
	}
}

func (o *outage) pokedKilled(ctx context.Context) ([]string, error) {
	kill := func() error { o.poked.Kill(); return nil }
	return o.sayThrough(ctx, kill, o.poked.Start, func() error { o.poked.Kill(); return o.poked.Start() })
}

// homeserverKilled kills the homeserver once what was said has arrived: what it had not sent by
// then it may lose, and nobody can mend that.
func (o *outage) homeserverKilled(ctx context.Context) ([]string, error) {
	before, err := o.say(ctx, perPhase)
	if err != nil {
		return before, err
	}
	arrived := o.expected(len(before))
	_ = o.until(ctx, func() bool { return o.summary(o.ours, before) == arrived }) // the row shows it
	if err := o.restartHomeserver(ctx); err != nil {
		return before, err
	}
	after, err := o.say(ctx, perPhase)
	return append(before, after...), err
}

// queueLost is what Dendrite's embedded NATS logs when a kill took its queue for application
// services, but not how far that was read. It then sends nothing until the queue is as long
// again, so it is given a new one.
const queueLost = "is ahead of stream's last sequence"

func (o *outage) restartHomeserver(ctx context.Context) error {
	before := o.countInLog(queueLost)
	for range 2 {
		o.dendrite.Kill()
		if o.countInLog(queueLost) > before {
			if err := os.RemoveAll(filepath.Join(o.dendrite.Dir, "js")); err != nil {
				return fmt.Errorf("remove the homeserver's queue: %w", err)
			}
		}
		if err := o.dendrite.Start(); err != nil {
			return err
		}
		if err := o.ready(ctx, o.homeserver+"/_matrix/client/versions"); err != nil {
			return err
		}
		if o.countInLog(queueLost) == before {
			break
		}
	}
	return nil
}

func (o *outage) countInLog(text string) int {
	log, _ := os.ReadFile(o.dendrite.Log) // without a log there is nothing to count
	return strings.Count(string(log), text)
}

func (o *outage) gatewayDown(ctx context.Context) ([]string, error) {
	return o.sayThrough(ctx, func() error { o.ours.fail(true); return nil }, func() error {
		<-time.After(5 * time.Second)
		o.ours.fail(false)
		return nil
	})
}

// outagePatience is how long the last poke may take once all is back: a homeserver's backoff
// and a probe of a gateway.
const outagePatience = 60 * time.Second

// row waits for all messages and compares what came with what was said.
func (o *outage) row(ctx context.Context, name string, said []string) row {
	ctx, cancel := context.WithTimeout(ctx, outagePatience)
	defer cancel()
	want := o.expected(len(said))
	began := time.Now()
	for ctx.Err() == nil && o.summary(o.ours, said) != want {
		select {
		case <-o.ours.next():
		case <-time.After(settle):
		case <-ctx.Done():
		}
	}
	took := time.Since(began)
	<-time.After(settle) // for repeats
	ours := o.summary(o.ours, said)
	return row{
		name:     fmt.Sprintf("%s (all came within %.1f s)", name, took.Seconds()),
		expected: want, ours: ours, theirs: o.summary(o.theirs, said), right: ours == want,
	}
}

func (o *outage) expected(n int) string {
	var words []string
	for _, pushkey := range o.receivers {
		words = append(words, fmt.Sprintf("%s %d of %d in order", pushkey, n, n))
	}
	return strings.Join(words, "; ")
}

// summary says how many messages came to each pushkey, and whether in order and once.
func (o *outage) summary(at *sink, said []string) string {
	var words []string
	for _, pushkey := range o.receivers {
		var came []string
		for _, event := range at.events(pushkey) {
			if slices.Contains(said, event) {
				came = append(came, event)
			}
		}
		distinct := slices.Compact(slices.Sorted(slices.Values(came)))
		text := fmt.Sprintf("%s %d of %d", pushkey, len(distinct), len(said))
		if n := len(came) - len(distinct); n > 0 {
			text += fmt.Sprintf(", %d twice", n)
		}
		if inOrder(came, said) {
			text += " in order"
		}
		words = append(words, text)
	}
	return strings.Join(words, "; ")
}

// inOrder reports whether events came for the first time in the order in which they were said.
func inOrder(came, said []string) bool {
	newest := -1
	seen := map[string]bool{}
	for _, event := range came {
		place := slices.Index(said, event)
		if !seen[event] && place < newest {
			return false
		}
		seen[event], newest = true, max(newest, place)
	}
	return true
}
