package dispatcher

import (
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// readHandOff is a hand-off on the way of what leaves the log, and what makes it.
type readHandOff struct {
	handOff

	clear    func(*house)
	released string
}

func readHandOffs() []readHandOff {
	read := func(h *house) { h.receipt("!r", "@bob:x", "m.read", "$r-1", "") }
	redact := func(h *house) {
		h.publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-3"}}`)
	}
	return []readHandOff{
		{handOff{"store what is read", "read."}, read, "2 3 4"},
		{handOff{"remove what is read", "$JS.API.STREAM.PURGE.NOTIFICATIONS"}, read, "2 3 4"},
		{handOff{"store position of match", "$KV.POSITIONS.match."}, read, "2 3 4"},
		{handOff{"store position of deliver", "$KV.POSITIONS.deliver."}, read, "2 3 4"},
		{handOff{"store redaction", "redacted."}, redact, "0 1 2 4"},
		{handOff{"remove what was redacted", "$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS"}, redact, "0 1 2 4"},
	}
}

// TestFaultTableRead breaks each hand-off on the way of what is read and what was
// redacted in each way, heals, and checks that what is left and what was told last
// are right.
func TestFaultTableRead(t *testing.T) {
	eventstest.Long(t)
	for _, point := range readHandOffs() {
		for name, fault := range eventstest.Faults() {
			t.Run(point.name+"/"+name, func(t *testing.T) {
				readers(t, func(t *testing.T, h *house) {
					met := h.link.Break(point.subject, fault)
					point.clear(h)
					heal(h, point.released)
					if !met() {
						t.Error("the fault was never met")
					}
				})
			})
		}
	}
}

// TestFaultTableBadge breaks the hand-off of a count to the gateway.
func TestFaultTableBadge(t *testing.T) {
	for name, reply := range map[string]eventstest.Reply{
		"failed":                          {Status: 500},
		"happened but the answer is lost": {HangUp: true},
		"killed right after":              {},
		"killed while it is out":          {After: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			readers(t, func(t *testing.T, h *house) {
				broken := false
				h.gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if broken || p.EventID != "" {
						return eventstest.Reply{}
					}
					if broken = true; reply.Status == 0 && !reply.HangUp {
						go h.link.Cut()
					}
					return reply
				})
				point := readHandOffs()[0]
				point.clear(h)
				heal(h, point.released)
				if !broken {
					t.Error("the fault was never met")
				}
			})
		})
	}
}

// heal starts again who was killed, and checks what bob has unread in the end and
// what he was told last.
func heal(h *house, left string) {
	h.t.Helper()
	<-time.After(10 * time.Second)
	h.revive()
	<-time.After(time.Minute)
	h.calm()
	var log []string
	for _, id := range h.logOf("@bob:x") {
		log = append(log, strings.TrimPrefix(string(id), "$r-"))
	}
	if got := strings.Join(log, " "); got != left {
		h.t.Errorf("bob has unread %q, want %q", got, left)
	}
	pokes := h.gateway.Pokes()
	if last := pokes[len(pokes)-1]; last.Unread != len(log) {
		h.t.Errorf("bob was told %d last, want %d", last.Unread, len(log))
	}
	if h.t.Failed() {
		h.t.Log(h.history())
	}
}

// A read whose badge was due at a crash, and whose place in the log a newer one
// has taken before anybody saw it again, leaves nobody with a wrong badge.
func TestBadgeOfAReadThatAnotherReplaced(t *testing.T) {
	readers(t, func(t *testing.T, h *house) {
		h.receipt("!r", "@bob:x", "m.read", "$r-1", "")
		<-time.After(100 * time.Millisecond) // it is removed, and not told
		h.kill()
		for _, msg := range h.server.Stored("NOTIFICATIONS", "read.") {
			h.server.DeleteMessage("NOTIFICATIONS", msg.Seq)
		}
		h.start()
		h.receipt("!r", "@bob:x", "m.read", "$r-1", "")
		heal(h, "2 3 4")
	})
}
