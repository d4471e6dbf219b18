package live

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"time"

	"poked/testdata"
)

// expected is a step of the table testdata/live/day.json.
type expected struct {
	ID   string `json:"id"`
	What string `json:"what"`
	Spec string `json:"spec"` // section of the specification that says so
	// Pokes is how each pushkey is poked about the step's event; others are not.
	Pokes map[string]string `json:"pokes"`
	// Unread is the last unread count of pushkeys after the step.
	Unread map[string]int `json:"unread"`
	// Notes are other things that the step finds out, by name.
	Notes map[string]string `json:"notes"`
}

// day is the state of the day.
type day struct {
	*world

	users map[string]*user
	rooms map[string]string
	ids   map[string]string // of events that later steps refer to
	notes map[string]string // of the current step
}

// outcome is what came of a step.
type outcome struct {
	expected

	event  string
	theirs string
	ours   string
	failed error
}

// Times to wait in a step.
const (
	// stepPatience is how long an expected poke may take.
	stepPatience = 15 * time.Second
	// settle is how long a step waits for what is not expected. What comes later is found at
	// the end of the day.
	settle = 250 * time.Millisecond
	// dayEnd is how long the end of the day waits for such pokes.
	dayEnd = 3 * time.Second
)

// names are the six users.
func names() []string { return []string{"alice", "bob", "carol", "dave", "erin", "frank"} }

// day runs the steps of the table.
func (w *world) day(ctx context.Context, r *report) error {
	var table []expected
	if err := json.Unmarshal([]byte(testdata.LiveDay()), &table); err != nil {
		return fmt.Errorf("read the table of the day: %w", err)
	}
	d := &day{world: w, users: map[string]*user{}, rooms: map[string]string{}, ids: map[string]string{}}
	for _, name := range names() {
		if err := d.arrive(ctx, name); err != nil {
			return err
		}
	}
	steps := d.steps()
	var done []outcome
	for _, want := range table {
		step, known := steps[want.ID]
		if !known {
			return fmt.Errorf("the table of the day has the step %q, which does not exist", want.ID)
		}
		delete(steps, want.ID)
		done = append(done, d.take(ctx, want, step))
	}
	for id := range steps {
		return fmt.Errorf("the table of the day lacks the step %q", id)
	}
	<-time.After(dayEnd)
	for i := range done {
		d.conclude(&done[i], r)
	}
	return ctx.Err()
}

// arrive registers a user, logs in with one device at the proxy and one at the homeserver
// itself, and sets a pusher from each: at poked, and at Dendrite.
func (d *day) arrive(ctx context.Context, name string) error {
	if err := register(ctx, d.homeserver, name); err != nil {
		return err
	}
	u, err := login(ctx, d.proxy, name, name+"-phone")
	if err != nil {
		return err
	}
	d.users[name] = u
	shadow, err := login(ctx, d.homeserver, name, name+"-shadow")
	if err != nil {
		return err
	}
	if err := shadow.setPusher(ctx, "org.example.shadow", name, d.theirs.gateway.URL(), nil); err != nil {
		return err
	}
	return u.setPusher(ctx, "org.example.app", name, d.ours.gateway.URL(), nil)
}

// take takes one step and waits for what it must cause.
func (d *day) take(ctx context.Context, want expected, step step) outcome {
	d.notes = map[string]string{}
	o := outcome{expected: want}
	if o.event, o.failed = step(ctx); o.failed != nil {
		return o
	}
	deadline := time.After(stepPatience)
	for !d.isRight(&o) {
		select {
		case <-d.ours.next():
		case <-time.After(settle): // a note may change without a poke
		case <-deadline:
			return d.see(o)
		}
	}
	<-time.After(settle)
	return d.see(o)
}

// isRight reports whether all has come that a step must cause.
func (d *day) isRight(o *outcome) bool {
	return maps.Equal(d.ours.of(o.event), o.Pokes) && maps.Equal(d.ours.counts(o.Unread), o.Unread)
}

// see records the counts after a step, which later steps change.
func (d *day) see(o outcome) outcome {
	o.ours, o.theirs = d.others(&o, d.ours), d.others(&o, d.theirs)
	return o
}

// others returns what a step caused besides pokes.
func (d *day) others(o *outcome, at *sink) string {
	text := ""
	if len(o.Unread) > 0 {
		text += "; unread: " + show(at.counts(o.Unread), strconv.Itoa)
	}
	if len(o.Notes) > 0 && at == d.ours {
		text += "; " + show(d.notes, same)
	}
	return text
}

func same(text string) string { return text }

// conclude adds a step to the report, with all pokes that came until the end of the day.
func (d *day) conclude(o *outcome, r *report) {
	expected := show(o.Pokes, same)
	if len(o.Unread) > 0 {
		expected += "; unread: " + show(o.Unread, strconv.Itoa)
	}
	if len(o.Notes) > 0 {
		expected += "; " + show(o.Notes, same)
	}
	row := row{name: o.What, expected: expected, ours: show(d.ours.of(o.event), same) + o.ours, theirs: show(d.theirs.of(o.event), same) + o.theirs}
	if o.failed != nil {
		row.ours = o.failed.Error()
	}
	if o.Notes != nil {
		row.theirs = "–"
	}
	row.right = o.failed == nil && row.ours == expected
	r.add(row)
}
