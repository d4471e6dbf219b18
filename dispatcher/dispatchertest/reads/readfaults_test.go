package reads_test

import (
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
)

// readHandOff is a hand-off of a receipt or redaction, with what causes it and which
// notifications are left.
type readHandOff struct {
	name    string
	subject string // of the message that is written

	clear    func(*harness)
	released string
}

func readHandOffs() []readHandOff {
	read := func(h *harness) { h.Receipt("!r", "@bob:x", "m.read", "$r-1", "") }
	redact := func(h *harness) {
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-3"}}`)
	}
	return []readHandOff{
		{"store what is read", "log.", read, "2 3 4"},
		{"store snapshots", "$KV.INBOX.", read, "2 3 4"},
		{"store position of match", "$KV.POSITIONS.match.", read, "2 3 4"},
		{"store position of deliver", "$KV.POSITIONS.deliver.", read, "2 3 4"},
		{"store redaction", "log.", redact, "0 1 2 4"},
		{"delete what was redacted", "$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS", redact, "0 1 2 4"},
	}
}

// TestFaultTableRead breaks each hand-off of receipts and redactions in each way, repairs it,
// and checks the log and the last badge.
func TestFaultTableRead(t *testing.T) {
	eventstest.Long(t)
	for _, point := range readHandOffs() {
		for name, fault := range natstest.Faults() {
			t.Run(point.name+"/"+name, func(t *testing.T) {
				unreadRoom(t, func(t *testing.T, h *harness) {
					met := h.Link.Break(point.subject, fault)
					point.clear(h)
					heal(h, point.released)
					if !met() {
						t.Error("the fault never happened")
					}
				})
			})
		}
	}
}

// TestFaultTableBadge breaks the hand-off of a badge to the gateway.
func TestFaultTableBadge(t *testing.T) {
	for name, reply := range map[string]eventstest.Reply{
		"failed":                          {Status: 500},
		"happened but the answer is lost": {HangUp: true},
		"killed right after":              {},
		"killed while it is in flight":    {After: time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			unreadRoom(t, func(t *testing.T, h *harness) {
				broken := false
				h.Gateway.Answer(func(p eventstest.Poke) eventstest.Reply {
					if broken || p.EventID != "" {
						return eventstest.Reply{}
					}
					if broken = true; reply.Status == 0 && !reply.HangUp {
						go h.Link.Cut()
					}
					return reply
				})
				point := readHandOffs()[0]
				point.clear(h)
				heal(h, point.released)
				if !broken {
					t.Error("the fault never happened")
				}
			})
		})
	}
}

// heal restarts a dispatcher that was killed, and checks bob's log and his last badge.
func heal(h *harness, left string) {
	h.T.Helper()
	<-time.After(10 * time.Second)
	h.Revive()
	<-time.After(30 * time.Second)
	h.CaughtUp()
	var log []string
	for _, id := range h.LogOf("@bob:x") {
		log = append(log, strings.TrimPrefix(string(id), "$r-"))
	}
	if got := strings.Join(log, " "); got != left {
		h.T.Errorf("bob has unread %q, want %q", got, left)
	}
	pokes := h.Gateway.Pokes()
	if last := pokes[len(pokes)-1]; last.Unread != len(log) {
		h.T.Errorf("bob's last badge is %d, want %d", last.Unread, len(log))
	}
	if h.T.Failed() {
		h.T.Log(h.History())
	}
}

// A receipt's badge is due at a crash, and the receipt is repeated before the next owner reads
// it. The badge is still right in the end.
func TestBadgeOfARepeatedReceipt(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		<-time.After(100 * time.Millisecond) // it is removed, and its badge is not sent
		h.Kill()
		h.Receipt("!r", "@bob:x", "m.read", "$r-1", "")
		h.Start()
		heal(h, "2 3 4")
	})
}

// A notification right behind a redaction, the first that a new owner hears of its user, is
// counted without the redacted one, although that is still being removed from the log.
func TestCountWhileARedactedOneIsRemoved(t *testing.T) {
	unreadRoom(t, func(t *testing.T, h *harness) {
		h.Kill()
		h.Start()
		late := h.Link.Break("$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS", natstest.Late)
		h.Publish(`{"event_id":"$x","room_id":"!r","type":"m.room.redaction","sender":"@alice:x","content":{"redacts":"$r-1"}}`)
		h.Say("!r", "@alice:x", 5, 1)
		unreadIs(t, h, "0 2 3 4 5", "5")
		if !late() {
			t.Error("nothing was late")
		}
	})
}
