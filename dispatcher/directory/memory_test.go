package directory

import (
	"fmt"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// A dispatcher that owns a third of the partitions uses less memory, and one that owns none
// still less.
func TestMemoryFallsWithTheShare(t *testing.T) {
	eventstest.Long(t)
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
		t.Errorf("%d bytes after everything was delivered again, before %d", again, third)
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
