package bridge_test

import (
	"strings"
	"testing"

	"poked/events/eventstest"
	"poked/events/publish"
)

const alice = "@alice:example.org"

// comesBack returns the join of a local user who comes back to room !r, whose name was changed
// meanwhile.
func (h *house) comesBack() (join string) {
	join = member("$back", alice, "join")
	h.hs.SetState("!r", raw(create(), state("$name2", "m.room.name", "", `{"name":"New"}`), join)...)
	return join
}

// When a local user joins a room and none may have been there, its state is fetched again.
func TestStateAfterTheLastLocalUserHadLeft(t *testing.T) {
	zoe := fromAfar(message("$zoe"))
	leave := member("$leave", alice, "leave")
	for name, c := range map[string]struct {
		before  []string // in a transaction each
		join    []string // in one transaction, with the join at its end
		fetched bool
	}{
		"the last left":           {[]string{zoe, leave}, nil, true},
		"the last was banned":     {[]string{fromAfar(member("$ban", alice, "ban"))}, nil, true},
		"invited again":           {[]string{leave, fromAfar(member("$invite", alice, "invite"))}, nil, true},
		"all in one":              {[]string{zoe}, []string{leave, fromAfar(member("$invite", alice, "invite"))}, true},
		"somebody was there":      {[]string{leave, zoe}, nil, false},
		"somebody came since":     {[]string{leave, member("$bob2", bob, "join")}, nil, false},
		"somebody invites":        {[]string{leave, member("$carol", "@carol:example.org", "invite")}, nil, false},
		"somebody kicked":         {[]string{member("$kick", bob, "leave")}, nil, false},
		"somebody, in one":        {[]string{zoe}, []string{leave, fromAfar(message("$2"))}, false},
		"a user elsewhere leaves": {[]string{fromAfar(member("$out", "@zoe:elsewhere.org", "leave"))}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t)
			h.put(create(), member("$alice", alice, "join"), state("$name", "m.room.name", "", `{"name":"Old"}`))
			for _, ev := range c.before {
				h.put(ev)
			}
			join := h.comesBack()
			h.open() // what it needs to know stands in NATS
			h.put(append(c.join, join)...)
			h.put(message("$after"))
			if got := strings.Contains(h.stored(), "$name2"); got != c.fetched {
				t.Errorf("fetched: %v, want %v; ROOMS holds %s", got, c.fetched, h.stored())
			}
			if !strings.HasSuffix(h.stored(), "$back $after") {
				t.Errorf("ROOMS holds %s", h.stored())
			}
		})
	}
}

// A new room is not fetched, in whatever order its events come.
func TestStateOfANewRoomIsNotFetched(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.put(member("$alice", alice, "join"), create())
	h.want("the events as they came", "$alice $create")
	if n := len(h.hs.Hits("GET /_matrix/client/v3/rooms/")); n != 0 {
		t.Errorf("the state was requested %d times", n)
	}
}

// A client's redaction that is stored after its user's leave does not hide the leave.
func TestReportedRedactionHidesNoLeave(t *testing.T) {
	h := newHouse(t)
	h.put(create(), member("$alice", alice, "join"), member("$leave", alice, "leave"))
	if err := publish.NewPublisher(h.conn).Event(t.Context(), []byte(message("$redaction")), publish.Reported()); err != nil {
		t.Fatal(err)
	}
	h.put(h.comesBack())
	if !strings.Contains(h.stored(), "$name2") {
		t.Errorf("ROOMS holds %s", h.stored())
	}
}

// What ROOMS has forgotten may have been a leave.
func TestStateOfARoomThatWasSilentForDays(t *testing.T) {
	h := newHouse(t)
	h.put(create(), member("$alice", alice, "join"))
	h.nats.Purge("ROOMS")
	h.put(h.comesBack())
	if !strings.Contains(h.stored(), "$name2") {
		t.Errorf("ROOMS holds %s", h.stored())
	}
}

// A state that cannot be fetched is fetched later.
func TestStateOfAReturnThatIsRefused(t *testing.T) {
	h := newHouse(t)
	h.put(create(), member("$alice", alice, "join"), member("$leave", alice, "leave"))
	join := member("$back", alice, "join")
	h.put(join) // the homeserver does not know yet that she is back
	if got := h.stored(); got != "$create $alice $leave $back" {
		t.Errorf("ROOMS holds %s", got)
	}
	h.comesBack()
	h.put(member("$again", alice, "join"))
	if !strings.Contains(h.stored(), "$name2") {
		t.Errorf("ROOMS holds %s", h.stored())
	}
}
