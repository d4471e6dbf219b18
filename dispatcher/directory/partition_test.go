package directory

import (
	"context"
	"iter"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// Users change, the watch is behind, partitions are gained and lost, and readings fail: a
// gained partition has the pushers of all its users, no user goes back to an earlier
// value, and in the end the directory holds what the bucket does.
func TestDirectoryGainsAndLoses(t *testing.T) {
	eventstest.Long(t)
	for seed := range uint64(30) {
		s := newSimulation(t, seed)
		for range 400 {
			switch part := s.dice.IntN(simulatedParts); {
			case s.dice.IntN(10) > 0:
				s.step()
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

// A new watch may be of a bucket that was created again, whose revisions are smaller.
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
