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

// simulation is a bucket that remembers all it ever held, and a directory that follows it
// by a watch, which may be behind, and by reading partitions.
type simulation struct {
	t       *testing.T
	dice    *rand.Rand
	dir     *Directory
	history []events.UserPushers     // by revision, from 1
	newest  map[events.UserID]uint64 // revisions
	watched uint64                   // how far the watch has delivered
	ours    map[int]bool             // partitions
	known   map[events.UserID]uint64 // newest revision that the directory has returned
	failing bool                     // readings fail half way
}

const (
	simulatedParts = 3
	simulatedUsers = 40
)

func newSimulation(t *testing.T, seed uint64) *simulation {
	t.Helper()
	policy, err := pushgateway.NewPolicy([]string{"gw.test"}, nil, true)
	if err != nil {
		t.Fatal(err)
	}
	s := &simulation{
		t: t, dice: rand.New(rand.NewPCG(seed, 0)), dir: New(policy, slog.New(slog.DiscardHandler), simulatedParts, func(events.UserID) {}),
		newest: map[events.UserID]uint64{}, ours: map[int]bool{}, known: map[events.UserID]uint64{},
	}
	for part := range simulatedParts {
		s.ours[part] = true
	}
	s.dir.changed = func(user events.UserID) {
		if !s.ours[partOf(user)] {
			t.Errorf("deliver hears of %s, whose partition is another's", user)
		}
	}
	return s
}

func partOf(user events.UserID) int { return events.PartitionOf(events.Token(user), simulatedParts) }

// set replaces a user's pushers in the bucket.
func (s *simulation) set(user events.UserID, pushers int) {
	revision := uint64(len(s.history) + 1)
	set := events.UserPushers{UserID: user, Revision: revision}
	for i := range pushers {
		p := eventstest.SomePusher(fmt.Sprint(user, i))
		p.PushkeyTS = int64(revision)
		p.InstanceHandle = []string{"", "phone", "desk"}[s.dice.IntN(3)]
		p.Disabled = s.dice.IntN(4) == 0
		p.AppID = []string{"app", "other"}[s.dice.IntN(2)]
		p.Data = [][]byte{
			eventstest.SomePusher("").Data, []byte(`{"url":"http://gw.test/_matrix/push/v1/notify","format":"event_id_only"}`),
			[]byte(`{"url":"http://elsewhere.test/nowhere"}`), fmt.Appendf(nil, `{"url":"http://gw.test/_matrix/push/v1/notify","id":%d}`, revision),
			[]byte(`7`),
		}[s.dice.IntN(5)]
		set.Pushers = append(set.Pushers, p)
	}
	s.history = append(s.history, set)
	s.newest[user] = revision
}

// watchNext delivers the watch's next change, if it is still in the bucket.
func (s *simulation) watchNext() {
	for s.watched < uint64(len(s.history)) {
		set := s.history[s.watched]
		s.watched++
		if s.newest[set.UserID] == set.Revision || s.dice.IntN(2) == 0 { // or was on its way already
			s.dir.Apply(set)
			return
		}
	}
}

// read reads a partition as the bucket does: in the order of revisions, without what has
// been replaced, as many values as there were when it began. Some values are always in
// flight while other things happen.
func (s *simulation) read(_ context.Context, part int) iter.Seq2[events.UserPushers, error] {
	return func(yield func(events.UserPushers, error) bool) {
		left := 0
		for user := range s.newest {
			if partOf(user) == part {
				left++
			}
		}
		breaks := s.dice.IntN(left + 1)
		for next, way := 0, []events.UserPushers(nil); left > 0; left-- {
			next, way = s.send(part, next, way)
			if len(way) == 0 {
				return
			}
			if s.failing && left <= breaks {
				yield(events.UserPushers{}, errors.New("nats is away"))
				return
			}
			if !yield(way[0], nil) {
				return
			}
			way = way[1:]
			s.check(false)
			for range s.dice.IntN(3) {
				s.happen()
			}
		}
	}
}

// send puts values of a partition in flight, from a place in history on.
func (s *simulation) send(part, next int, way []events.UserPushers) (int, []events.UserPushers) {
	for ; next < len(s.history) && len(way) < 5; next++ {
		if set := s.history[next]; partOf(set.UserID) == part && s.newest[set.UserID] == set.Revision {
			way = append(way, set)
		}
	}
	return next, way
}

// happen changes a user, or delivers a change by the watch.
func (s *simulation) happen() {
	if s.dice.IntN(2) == 0 {
		s.set(someUser(s.dice.IntN(simulatedUsers)), s.dice.IntN(4))
	} else {
		s.watchNext()
	}
}

// check checks what the directory returns for every user. It never goes back to an
// earlier value; and if current is set, it is what the bucket holds.
func (s *simulation) check(current bool) {
	s.t.Helper()
	for i := range simulatedUsers {
		user := someUser(i)
		got := s.dir.Pushers(user)
		for _, p := range got {
			if uint64(p.PushkeyTS) < s.known[user] {
				s.t.Fatalf("%s went back from revision %d to %d", user, s.known[user], p.PushkeyTS)
			}
			s.known[user] = uint64(p.PushkeyTS)
		}
		if current {
			s.checkUser(user, got)
		}
	}
}

func (s *simulation) checkUser(user events.UserID, got []*Pusher) {
	s.t.Helper()
	var want []*Pusher
	var handles []string
	if revision := s.newest[user]; revision > 0 {
		for _, p := range s.history[revision-1].Pushers {
			if !p.Disabled {
				want = append(want, plainPusher(user, &p, s.dir.templates.policy))
				handles = append(handles, p.InstanceHandle)
			}
		}
	}
	if s.dir.Has(user) != (len(want) > 0) {
		s.t.Fatalf("%s has pushers: %t, want %d", user, s.dir.Has(user), len(want))
	}
	found := s.dir.Handles(user)
	slices.Sort(found)
	slices.Sort(handles)
	if !slices.Equal(slices.Compact(found), slices.Compact(handles)) {
		s.t.Fatalf("%s has handles %q, want %q", user, found, handles)
	}
	if !s.ours[partOf(user)] {
		want = nil
	}
	same := func(p, q *Pusher) bool {
		return p.Same(q) && p.User == q.User && p.AppID == q.AppID && p.Pushkey == q.Pushkey && p.EventOnly == q.EventOnly &&
			p.NoBadge == q.NoBadge && (p.Refused == nil) == (q.Refused == nil) && (p.Data == nil) == (q.Data == nil)
	}
	if !slices.EqualFunc(got, want, same) {
		s.t.Fatalf("%s has %+v, want %+v", user, got, want)
	}
}

// plainPusher makes the pusher that deliver needs, without any encoding.
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

// Users change, the watch is behind, partitions are gained and lost, and readings fail: a
// gained partition has the pushers of all its users, no user goes back to an earlier
// value, and in the end the directory holds what the bucket does.
func TestDirectoryGainsAndLoses(t *testing.T) {
	for seed := range uint64(30) {
		s := newSimulation(t, seed)
		for range 400 {
			switch part := s.dice.IntN(simulatedParts); {
			case s.dice.IntN(10) > 0:
				s.happen()
			case s.ours[part]:
				s.dir.Lose(part)
				s.ours[part] = false
				s.check(false)
			default:
				s.gain(part)
			}
		}
		s.catchUp()
		s.check(true)
		s.empty()
	}
}

func (s *simulation) gain(part int) {
	s.t.Helper()
	s.ours[part], s.failing = true, s.dice.IntN(4) == 0
	err := s.dir.Gain(s.t.Context(), part, s.read)
	switch {
	case err != nil && !s.failing:
		s.t.Fatal(err)
	case err != nil:
		s.ours[part] = false
		return
	}
	for user := range s.newest {
		if partOf(user) == part && s.dir.Has(user) && len(s.dir.Pushers(user)) == 0 && s.newest[user] <= s.watched {
			s.t.Fatalf("%s is in a gained partition, and has no pushers", user)
		}
	}
}

func (s *simulation) catchUp() {
	for s.watched < uint64(len(s.history)) {
		s.watchNext()
	}
}

// empty removes all pushers, some of them in a partition that is not ours: nothing is
// kept.
func (s *simulation) empty() {
	s.t.Helper()
	s.dir.Lose(0)
	for i := range simulatedUsers {
		s.set(someUser(i), 0)
	}
	s.catchUp()
	shared := s.dir.templates
	if users, _ := s.dir.Sizes(); users != 0 || len(shared.byKey) != 0 || len(shared.free) != len(shared.all) {
		s.t.Fatalf("%d users and %d templates are kept of no pushers", users, len(shared.byKey))
	}
	for part := range s.dir.partitions {
		if light := s.dir.partitions[part].light; light != 0 {
			s.t.Fatalf("partition %d counts %d light records of no users", part, light)
		}
	}
}

// The reading may miss a user who changes meanwhile; a second reading finds the user.
func TestGainReadsAgainForMissingUsers(t *testing.T) {
	s := newSimulation(t, 1)
	for i := range simulatedUsers {
		p := eventstest.SomePusher("key")
		s.dir.Apply(events.UserPushers{UserID: someUser(i), Revision: uint64(i + 1), Pushers: []events.Pusher{p}})
	}
	s.dir.Lose(1)
	readings := 0
	err := s.dir.Gain(t.Context(), 1, func(context.Context, int) iter.Seq2[events.UserPushers, error] {
		readings++
		return func(yield func(events.UserPushers, error) bool) {
			for i := range simulatedUsers {
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
	for i := range simulatedUsers {
		if user := someUser(i); len(s.dir.Pushers(user)) != 1 {
			t.Errorf("%s is not known", user)
		}
	}
}

// A watch that begins anew may be of another bucket, whose revisions are smaller.
func TestDirectoryFollowsARecreatedBucket(t *testing.T) {
	s := newSimulation(t, 1)
	user := someUser(1)
	for range 5 {
		s.set(user, 2)
	}
	s.catchUp()
	s.dir.Lose(partOf(user))
	s.gain(partOf(user))
	s.history, s.newest, s.watched, s.known = nil, map[events.UserID]uint64{}, 0, map[events.UserID]uint64{}
	s.dir.beginWatch()
	s.set(user, 3)
	s.catchUp()
	s.ours[partOf(user)] = true
	s.checkUser(user, s.dir.Pushers(user))
}

// A dispatcher that owns a quarter holds less, and one that lost all less still.
func TestMemoryFallsWithTheShare(t *testing.T) {
	s := newSimulation(t, 1)
	const users = 50_000
	fill := func() {
		for i := range users {
			user := someUser(i)
			p := eventstest.SomePusher(fmt.Sprintf("%0100d", i))
			s.dir.Apply(events.UserPushers{UserID: user, Revision: uint64(i + 1), Pushers: []events.Pusher{p}})
		}
	}
	fill()
	all := s.dir.users.bytes()
	s.dir.Lose(0, 1)
	third := s.dir.users.bytes()
	s.ours = map[int]bool{2: true}
	fill() // as after a reconnect
	if again := s.dir.users.bytes(); again != third {
		t.Errorf("%d bytes after everything was delivered anew, before %d", again, third)
	}
	s.dir.Lose(2)
	none := s.dir.users.bytes()
	if third > all*55/100 || none > all*35/100 {
		t.Errorf("%d bytes own all, %d a third, %d nothing", all, third, none)
	}
	if shared := s.dir.templates; len(shared.byKey) != 0 {
		t.Errorf("%d templates for pushers of others", len(shared.byKey))
	}
}

// With a real bucket, while users change, the watch runs and others ask.
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
