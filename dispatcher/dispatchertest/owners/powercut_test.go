package owners_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/stream"
)

// TestG1RoomsThatLostTheirEnd cuts ROOMS while the dispatcher runs or is away, as a power cut does,
// and lets new events take the sequences of those that it lost before anybody looks. Each new
// event is delivered once, in order, and none of the old ones again: also if the dispatcher dies
// just after it has matched them.
func TestG1RoomsThatLostTheirEnd(t *testing.T) {
	cuts := []int64{100, 1500, 3000}
	if testing.Short() {
		cuts = cuts[1:2]
	}
	for _, bytes := range cuts {
		for _, more := range []int{2, 30} { // so that ROOMS ends before where it ended, and beyond
			for _, running := range []bool{true, false} {
				for _, dies := range []bool{false, true} {
					t.Run(fmt.Sprintf("%d bytes/%d more/running %t/dies %t", bytes, more, running, dies), func(t *testing.T) {
						bubbleOf(t, 2, func(t *testing.T, h *harness) { h.loseRooms(bytes, more, running, dies) })
					})
				}
			}
		}
	}
}

func (h *harness) loseRooms(bytes int64, more int, running, dies bool) {
	h.Register("@bob:x", "gw.test", "bob")
	h.Room("!r", "@alice:x", "@bob:x")
	h.Start()
	h.Say("!r", "@alice:x", 1, 20)
	h.Arrived(20)
	<-time.After(5 * time.Second) // until positions are stored
	if !running {
		h.Halt()
	}
	h.Server.LoseEnd(bytes, h.Conn.Topology().StreamsOf(stream.Rooms)...)
	if !running {
		<-time.After(10 * time.Second) // until the homeserver is connected again
	}
	eventstest.WaitFor(h.T, "NATS", h.Conn.Connected)
	h.Say("!r", "@alice:x", 101, more)
	if !running {
		h.Begin()
	}
	if dies {
		eventstest.WaitFor(h.T, "the first new poke", func() bool { return strings.Contains(h.Delivered("bob"), "r-101") })
		h.Kill()
		<-time.After(10 * time.Second)
		h.Begin()
	}
	h.Arrived(20 + more)
	<-time.After(time.Minute)
	var got []string
	for id := range strings.FieldsSeq(h.Delivered("bob")) {
		old := len(id) <= len("r-20")
		if !slices.Contains(got, id) {
			got = append(got, id)
		} else if old || !dies { // of the new ones the outcome is unknown when it dies
			h.T.Errorf("%s is delivered twice", id)
		}
	}
	var want []string
	for n := range 20 {
		want = append(want, fmt.Sprintf("r-%d", n+1))
	}
	for n := range more {
		want = append(want, fmt.Sprintf("r-%d", n+101))
	}
	if !slices.Equal(got, want) {
		h.T.Errorf("delivered %v", got)
	}
}
