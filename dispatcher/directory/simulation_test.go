package directory

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"math/rand/v2"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/pushgateway"
)

// simulation is a bucket with the history of its values, and a directory that follows it by
// a watch, which may be behind, and by reading partitions.
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
			t.Errorf("changed is called for %s, whose partition is another's", user)
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
			[]byte(`7`), []byte(`{"url":"http://gw.test/_matrix/push/v1/notify","poked.user_id":true,"poked.room_avatar":true}`),
			fmt.Appendf(nil, `{"url":"http://gw.test/_matrix/push/v1/notify","poked.user_id":true,"id":%d}`, revision),
			fmt.Appendf(nil, `{"url":"http://gw.test/_matrix/push/v1/notify","poked.room_avatar":true,"id":%d}`, revision),
		}[s.dice.IntN(8)]
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
		if s.newest[set.UserID] == set.Revision || s.dice.IntN(2) == 0 { // or was in flight already
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
		for next, inFlight := 0, []events.UserPushers(nil); left > 0; left-- {
			next, inFlight = s.send(part, next, inFlight)
			if len(inFlight) == 0 {
				return
			}
			if s.failing && left <= breaks {
				yield(events.UserPushers{}, errors.New("nats is away"))
				return
			}
			if !yield(inFlight[0], nil) {
				return
			}
			inFlight = inFlight[1:]
			s.check(false)
			for range s.dice.IntN(3) {
				s.step()
			}
		}
	}
}

// send puts values of a partition in flight, from a place in history on.
func (s *simulation) send(part, next int, inFlight []events.UserPushers) (int, []events.UserPushers) {
	for ; next < len(s.history) && len(inFlight) < 5; next++ {
		if set := s.history[next]; partOf(set.UserID) == part && s.newest[set.UserID] == set.Revision {
			inFlight = append(inFlight, set)
		}
	}
	return next, inFlight
}

// step changes a user, or delivers a change by the watch.
func (s *simulation) step() {
	if s.dice.IntN(2) == 0 {
		s.set(someUser(s.dice.IntN(simulatedUsers)), s.dice.IntN(4))
	} else {
		s.watchNext()
	}
}

// gain gains a partition, where the reading may fail.
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

// catchUp delivers all that the watch has not delivered.
func (s *simulation) catchUp() {
	for s.watched < uint64(len(s.history)) {
		s.watchNext()
	}
}

// empty removes all pushers, some of them in a partition that is not ours, and checks that
// nothing is kept.
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
