package directory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tidwall/gjson"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushgateway"
	"poked/events/stream"
)

// office is a bucket that remembers all it ever held, and a directory that is
// told of it by a watch, which may be behind, and by reading partitions.
type office struct {
	t       *testing.T
	dice    *rand.Rand
	dir     *Directory
	history []events.UserPushers     // by revision, from 1
	newest  map[events.UserID]uint64 // revisions
	watched uint64                   // how far the watch has told
	ours    map[int]bool             // partitions
	known   map[events.UserID]uint64 // newest revision that the directory has shown
	broken  bool                     // readings fail half way
}

const (
	officeParts = 3
	officeUsers = 40
)

func newOffice(t *testing.T, seed uint64) *office {
	t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	o := &office{
		t: t, dice: rand.New(rand.NewPCG(seed, 0)), dir: New(policy, slog.New(slog.DiscardHandler), officeParts, func(events.UserID) {}),
		newest: map[events.UserID]uint64{}, ours: map[int]bool{}, known: map[events.UserID]uint64{},
	}
	for part := range officeParts {
		o.ours[part] = true
	}
	o.dir.changed = func(user events.UserID) {
		if !o.ours[partOf(user)] {
			t.Errorf("deliver is told of %s, who is another's", user)
		}
	}
	return o
}

func partOf(user events.UserID) int { return events.PartitionOf(events.Token(user), officeParts) }

// set has a user set other pushers in the bucket.
func (o *office) set(user events.UserID, pushers int) {
	revision := uint64(len(o.history) + 1)
	set := events.UserPushers{UserID: user, Revision: revision}
	for i := range pushers {
		p := eventstest.SomePusher(fmt.Sprint(user, i))
		p.PushkeyTS = int64(revision)
		p.InstanceHandle = []string{"", "phone", "desk"}[o.dice.IntN(3)]
		p.Disabled = o.dice.IntN(4) == 0
		p.AppID = []string{"app", "other"}[o.dice.IntN(2)]
		p.Data = [][]byte{
			eventstest.SomePusher("").Data, []byte(`{"url":"http://gw.test/_matrix/push/v1/notify","format":"event_id_only"}`),
			[]byte(`{"url":"http://elsewhere.test/nowhere"}`), fmt.Appendf(nil, `{"url":"http://gw.test/_matrix/push/v1/notify","id":%d}`, revision),
			[]byte(`7`),
		}[o.dice.IntN(5)]
		set.Pushers = append(set.Pushers, p)
	}
	o.history = append(o.history, set)
	o.newest[user] = revision
}

// tell has the watch tell the next change, if it still stands in the bucket.
func (o *office) tell() {
	for o.watched < uint64(len(o.history)) {
		set := o.history[o.watched]
		o.watched++
		if o.newest[set.UserID] == set.Revision || o.dice.IntN(2) == 0 { // or was on its way already
			o.dir.Apply(set)
			return
		}
	}
}

// read reads a partition as the bucket does: in the order of revisions, passing
// over what has been replaced, as many values as there were when it began. Some
// are always on their way, while things happen.
func (o *office) read(_ context.Context, part int) iter.Seq2[events.UserPushers, error] {
	return func(yield func(events.UserPushers, error) bool) {
		left := 0
		for user := range o.newest {
			if partOf(user) == part {
				left++
			}
		}
		breaks := o.dice.IntN(left + 1)
		for next, way := 0, []events.UserPushers(nil); left > 0; left-- {
			next, way = o.send(part, next, way)
			if len(way) == 0 {
				return
			}
			if o.broken && left <= breaks {
				yield(events.UserPushers{}, errors.New("nats is away"))
				return
			}
			if !yield(way[0], nil) {
				return
			}
			way = way[1:]
			o.check(false)
			for range o.dice.IntN(3) {
				o.happen()
			}
		}
	}
}

// send puts values of a partition on their way, from a place in history on.
func (o *office) send(part, next int, way []events.UserPushers) (int, []events.UserPushers) {
	for ; next < len(o.history) && len(way) < 5; next++ {
		if set := o.history[next]; partOf(set.UserID) == part && o.newest[set.UserID] == set.Revision {
			way = append(way, set)
		}
	}
	return next, way
}

// happen has a user change, or the watch tell something.
func (o *office) happen() {
	if o.dice.IntN(2) == 0 {
		o.set(someUser(o.dice.IntN(officeUsers)), o.dice.IntN(4))
	} else {
		o.tell()
	}
}

// check finds out what the directory says of everybody. It never goes back to
// what was set earlier; and if it is to be current, it is what the bucket holds.
func (o *office) check(current bool) {
	o.t.Helper()
	for i := range officeUsers {
		user := someUser(i)
		got := o.dir.Pushers(user)
		for _, p := range got {
			if uint64(p.PushkeyTS) < o.known[user] {
				o.t.Fatalf("%s went back from revision %d to %d", user, o.known[user], p.PushkeyTS)
			}
			o.known[user] = uint64(p.PushkeyTS)
		}
		if current {
			o.checkUser(user, got)
		}
	}
}

func (o *office) checkUser(user events.UserID, got []*Pusher) {
	o.t.Helper()
	var want []*Pusher
	var handles []string
	if revision := o.newest[user]; revision > 0 {
		for _, p := range o.history[revision-1].Pushers {
			if !p.Disabled {
				want = append(want, plainPusher(user, &p, o.dir.templates.policy))
				handles = append(handles, p.InstanceHandle)
			}
		}
	}
	if o.dir.Has(user) != (len(want) > 0) {
		o.t.Fatalf("%s has pushers: %t, want %d", user, o.dir.Has(user), len(want))
	}
	told := o.dir.Handles(user)
	slices.Sort(told)
	slices.Sort(handles)
	if !slices.Equal(slices.Compact(told), slices.Compact(handles)) {
		o.t.Fatalf("%s has handles %q, want %q", user, told, handles)
	}
	if !o.ours[partOf(user)] {
		want = nil
	}
	same := func(p, q *Pusher) bool {
		return p.Same(q) && p.User == q.User && p.AppID == q.AppID && p.Pushkey == q.Pushkey && p.EventOnly == q.EventOnly &&
			p.NoBadge == q.NoBadge && (p.Refused == nil) == (q.Refused == nil) && (p.Data == nil) == (q.Data == nil)
	}
	if !slices.EqualFunc(got, want, same) {
		o.t.Fatalf("%s has %+v, want %+v", user, got, want)
	}
}

// plainPusher makes of a pusher what deliver is to be given, in the plain way.
func plainPusher(user events.UserID, p *events.Pusher, policy *pushgateway.Policy) *Pusher {
	plain := &Pusher{
		ID: events.NewPusherID(user, p.AppID, p.Pushkey), User: user,
		AppID: p.AppID, Pushkey: p.Pushkey, PushkeyTS: p.PushkeyTS, Handle: p.InstanceHandle,
	}
	plain.EventOnly = gjson.GetBytes(p.Data, "format").Str == "event_id_only"
	if plain.URL, plain.Refused = policy.CheckURL(gjson.GetBytes(p.Data, "url").Str); plain.Refused != nil {
		plain.URL = nil
	}
	plain.Data, _ = pushgateway.StripURL(p.Data)
	return plain
}

// Users change, the watch is behind, partitions are gained and lost, readings
// break off: a gained partition has the pushers of all its users, nobody goes back
// to what was set earlier, and in the end the directory says what the bucket does.
func TestDirectoryGainsAndLoses(t *testing.T) {
	for seed := range uint64(30) {
		o := newOffice(t, seed)
		for range 400 {
			switch part := o.dice.IntN(officeParts); {
			case o.dice.IntN(10) > 0:
				o.happen()
			case o.ours[part]:
				o.dir.Lose(part)
				o.ours[part] = false
				o.check(false)
			default:
				o.gain(part)
			}
		}
		o.catchUp()
		o.check(true)
		o.empty()
	}
}

func (o *office) gain(part int) {
	o.t.Helper()
	o.ours[part], o.broken = true, o.dice.IntN(4) == 0
	err := o.dir.Gain(o.t.Context(), part, o.read)
	switch {
	case err != nil && !o.broken:
		o.t.Fatal(err)
	case err != nil:
		o.ours[part] = false
		return
	}
	for user := range o.newest {
		if partOf(user) == part && o.dir.Has(user) && len(o.dir.Pushers(user)) == 0 && o.newest[user] <= o.watched {
			o.t.Fatalf("%s is in a partition that was gained and is not known", user)
		}
	}
}

func (o *office) catchUp() {
	for o.watched < uint64(len(o.history)) {
		o.tell()
	}
}

// empty has everybody go, half of them as users of other dispatchers: nothing is
// kept of them.
func (o *office) empty() {
	o.t.Helper()
	o.dir.Lose(0)
	for i := range officeUsers {
		o.set(someUser(i), 0)
	}
	o.catchUp()
	k := o.dir.templates
	if users, _ := o.dir.Sizes(); users != 0 || len(k.byKey) != 0 || len(k.free) != len(k.all) {
		o.t.Fatalf("of nobody %d users and %d kinds are kept", users, len(k.byKey))
	}
	for part := range o.dir.shares {
		if light := o.dir.shares[part].light; light != 0 {
			o.t.Fatalf("partition %d has %d light entries of nobody", part, light)
		}
	}
}

// A user who changes while a partition is read may be passed over, and is then
// known all the same.
func TestGainReadsAgainWhoWasPassedOver(t *testing.T) {
	o := newOffice(t, 1)
	for i := range officeUsers {
		p := eventstest.SomePusher("key")
		o.dir.Apply(events.UserPushers{UserID: someUser(i), Revision: uint64(i + 1), Pushers: []events.Pusher{p}})
	}
	o.dir.Lose(1)
	readings := 0
	err := o.dir.Gain(t.Context(), 1, func(context.Context, int) iter.Seq2[events.UserPushers, error] {
		readings++
		return func(yield func(events.UserPushers, error) bool) {
			for i := range officeUsers {
				set := events.UserPushers{UserID: someUser(i), Revision: uint64(i + 1), Pushers: []events.Pusher{eventstest.SomePusher("key")}}
				if partOf(set.UserID) == 1 && (readings > 1 || i%2 == 0) && !yield(set, nil) {
					return
				}
			}
		}
	})
	if err != nil || readings != 2 {
		t.Fatalf("%d readings: %v", readings, err)
	}
	for i := range officeUsers {
		if user := someUser(i); len(o.dir.Pushers(user)) != 1 {
			t.Errorf("%s is not known", user)
		}
	}
}

// A watch that begins anew may be of another bucket, whose revisions are smaller.
func TestDirectoryTakesInABucketMadeAnew(t *testing.T) {
	o := newOffice(t, 1)
	user := someUser(1)
	for range 5 {
		o.set(user, 2)
	}
	o.catchUp()
	o.dir.Lose(partOf(user))
	o.gain(partOf(user))
	o.history, o.newest, o.watched, o.known = nil, map[events.UserID]uint64{}, 0, map[events.UserID]uint64{}
	o.dir.anew()
	o.set(user, 3)
	o.catchUp()
	o.ours[partOf(user)] = true
	o.checkUser(user, o.dir.Pushers(user))
}

// A dispatcher that owns a quarter holds less, and one that lost all less still.
func TestMemoryFallsWithTheShare(t *testing.T) {
	o := newOffice(t, 1)
	const users = 50_000
	fill := func() {
		for i := range users {
			user := someUser(i)
			p := eventstest.SomePusher(fmt.Sprintf("%0100d", i))
			o.dir.Apply(events.UserPushers{UserID: user, Revision: uint64(i + 1), Pushers: []events.Pusher{p}})
		}
	}
	fill()
	all := o.dir.users.bytes()
	o.dir.Lose(0, 1)
	third := o.dir.users.bytes()
	o.ours = map[int]bool{2: true}
	fill() // as after a reconnect
	if again := o.dir.users.bytes(); again != third {
		t.Errorf("%d bytes once all was told anew, before %d", again, third)
	}
	o.dir.Lose(2)
	none := o.dir.users.bytes()
	if third > all*55/100 || none > all*35/100 {
		t.Errorf("%d bytes own all, %d a third, %d nothing", all, third, none)
	}
	if k := o.dir.templates; len(k.byKey) != 0 {
		t.Errorf("%d kinds of pushers of others", len(k.byKey))
	}
}

// Over a real bucket, while users change, and beside a watch and who asks.
func TestDirectoryGainsBesideTheWatch(t *testing.T) {
	eventstest.Bubble(t, func(t *testing.T, _ *eventstest.Server, conn *stream.Conn) {
		policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
		if err != nil {
			t.Fatal(err)
		}
		dir := New(policy, slog.New(slog.DiscardHandler), conn.Partitions(), func(events.UserID) {})
		ctx, stop := context.WithCancel(t.Context())
		var helpers sync.WaitGroup
		defer helpers.Wait()
		defer stop()
		ready := make(chan struct{})
		helpers.Go(func() {
			if err := dir.Watch(ctx, conn, func() { close(ready) }); err != nil {
				t.Error(err)
			}
		})
		<-ready
		dir.Lose(0, 1)
		const users, changes = 100, 400
		revision := map[events.UserID]int64{}
		change := func(n int) {
			user := someUser(n % users)
			p := eventstest.SomePusher("key")
			p.PushkeyTS = int64(n + 1)
			set := events.UserPushers{UserID: user, Version: p.PushkeyTS, Pushers: []events.Pusher{p}}
			if revision[user] = p.PushkeyTS; n%7 == 6 {
				set.Pushers, revision[user] = nil, 0
			}
			if err := conn.PutPushers(ctx, set); err != nil {
				t.Error(err)
			}
		}
		for n := range users {
			change(n)
		}
		helpers.Go(func() {
			for ctx.Err() == nil {
				dir.Pushers(someUser(1))
				dir.Handles(someUser(2))
				<-time.After(time.Millisecond)
			}
		})
		changed := make(chan struct{})
		helpers.Go(func() {
			for n := users; n < changes; n++ {
				change(n)
			}
			close(changed)
		})
		for range 5 {
			for part := range 2 {
				if err := dir.Gain(ctx, part, conn.PushersIn); err != nil {
					t.Fatal(err)
				}
			}
			dir.Lose(0)
		}
		<-changed
		if err := dir.Gain(ctx, 0, conn.PushersIn); err != nil {
			t.Fatal(err)
		}
		current := func() bool {
			for n := range users {
				user := someUser(n)
				got := int64(0)
				if p := dir.Pushers(user); len(p) > 0 {
					got = p[0].PushkeyTS
				}
				if got != revision[user] {
					return false
				}
			}
			return true
		}
		eventstest.WaitFor(t, "what the bucket holds", current)
	})
}
