package bridge_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/roomstore"
)

const bob = "@bob:example.org"

// roomOfBob returns the state of a room in which bob is joined.
func roomOfBob(more ...string) []string {
	return append([]string{create(), member("$bob", bob, "join"), state("$name", "m.room.name", "", `{"name":"Room"}`)}, more...)
}

// fromAfar changes the sender of an event to a user of another homeserver.
func fromAfar(ev string) string {
	return strings.Replace(ev, `"sender":"@alice:example.org"`, `"sender":"@zoe:elsewhere.org"`, 1)
}

// The events of an unknown room wait until its state is stored. State events of the
// same transaction are not stored twice.
func TestStateFromBefore(t *testing.T) {
	h := newHouse(t)
	topic := state("$topic", "m.room.topic", "", `{}`)
	h.hs.SetState("!r", raw(roomOfBob(topic, member("$alice", "@alice:example.org", "join"))...)...)
	h.put(topic, message("$1"))
	h.put(message("$2"))
	h.want("state, then events", "$bob $name $alice $create $topic $1 $2")
	for i, msg := range h.nats.Stored("ROOMS", "") {
		if msg.Historical != (i < 4) {
			t.Errorf("message %d: historical %v", i, msg.Historical)
		}
	}
	if n := len(h.hs.Hits("GET /_matrix/client/v3/rooms/")); n != 1 {
		t.Errorf("the state was requested %d times", n)
	}
	h.open()
	h.put(message("$3"))
	if n := len(h.hs.Hits("GET /_matrix/client/v3/rooms/")); n != 1 {
		t.Errorf("the state was requested %d times by the end of a restart", n)
	}
}

// An event that the fetched state already contained still notifies when it arrives.
func TestEventInFetchedStateNotifies(t *testing.T) {
	h := newHouse(t)
	invite := member("$invite", "@carol:example.org", "invite")
	h.hs.SetState("!r", raw(roomOfBob(invite, member("$alice", "@alice:example.org", "join"))...)...)
	h.put(message("$1"))
	h.put(invite)
	all := h.nats.Stored("ROOMS", "")
	if last := all[len(all)-1]; last.Historical || !strings.Contains(string(last.Data), "$invite") {
		t.Errorf("the last one is %s, historical %v", last.Data, last.Historical)
	}
}

// If no sender is local, the bridge requests the state on behalf of a member with a
// pusher.
func TestStateOnBehalfOfAMember(t *testing.T) {
	h := newHouse(t)
	h.hs.SetState("!r", raw(roomOfBob()...)...)
	set := events.UserPushers{UserID: bob, Version: 1, Pushers: []events.Pusher{{AppID: "a", Pushkey: "k", Kind: "http"}}}
	if err := h.conn.PutPushers(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	h.put(fromAfar(message("$1")))
	h.want("state, then event", "$bob $name $create $1")
}

// After an invite from another server, the state is fetched once a local user joins.
func TestStateWhenSomebodyJoins(t *testing.T) {
	eventstest.Long(t)
	h := newHouse(t)
	h.put(fromAfar(member("$invite", bob, "invite")))
	h.want("the invite", "$invite")
	join := member("$bob", bob, "join")
	h.hs.SetState("!r", raw(roomOfBob()...)...)
	h.put(join, message("$1"))
	h.want("state, then events", "$invite $name $create $bob $1")
	if counts := h.bridge.Counts(); counts.WithoutState != 1 || counts.Seeded != 1 {
		t.Errorf("counts %+v", counts)
	}
}

// A state that the homeserver fails to return is requested again. Until then no event
// of the room is acknowledged, but other rooms are stored.
func TestStateThatFailsIsRequestedAgain(t *testing.T) {
	h := newHouse(t)
	h.hs.SetState("!r", raw(roomOfBob(member("$alice", "@alice:example.org", "join"))...)...)
	other := strings.ReplaceAll(create(), `"!r"`, `"!other"`)
	body := transaction(message("$1"), strings.Replace(other, "$create", "$other", 1))
	for name, reply := range map[string]eventstest.Reply{
		"it fails":             {Status: 500, Body: `{"errcode":"M_UNKNOWN","error":"?"}`},
		"it is throttled":      {Status: 429, Body: `{"errcode":"M_LIMIT_EXCEEDED","error":"?"}`},
		"a proxy answers":      {Status: 404, Body: `<html>`},
		"it is no array":       {Status: 200, Body: `{}`},
		"its answer is broken": {Status: 200, Body: `[` + member("$bob", bob, "join") + `,`},
	} {
		h.hs.Instead(func(r *http.Request) (eventstest.Reply, bool) {
			return reply, strings.Contains(r.URL.Path, "/state")
		})
		if status, errcode := h.request(http.MethodPut, txn, hsToken, body); status != 502 || errcode != "M_UNKNOWN" {
			t.Errorf("%s: %d %s", name, status, errcode)
		}
	}
	h.hs.Instead(func(*http.Request) (eventstest.Reply, bool) { return eventstest.Reply{}, false })
	if stored := h.stored(); strings.Contains(stored, "$1") || !strings.Contains(stored, "$other") {
		t.Errorf("ROOMS holds %q", stored)
	}
	if status, errcode := h.request(http.MethodPut, txn, hsToken, body); status != 200 {
		t.Fatalf("in the end: %d %s", status, errcode)
	}
	if known, err := roomstore.New(h.conn).Knows(t.Context(), "!r"); !known || err != nil {
		t.Errorf("known: %v, %v", known, err)
	}
	if stored := h.stored(); !strings.HasSuffix(stored, "$create $1") {
		t.Errorf("ROOMS holds %q", stored)
	}
}

// Some homeservers omit the room id in a state event, since the path has it. State
// events that poked cannot parse are skipped.
func TestStateInTheFormsOfHomeservers(t *testing.T) {
	h := newHouse(t)
	alice := strings.Replace(member("$alice", "@alice:example.org", "join"), `"room_id":"!r",`, "", 1)
	h.hs.SetState("!r", raw(create(), alice, `{"type":"m.broken"}`)...)
	h.put(message("$1"))
	h.want("state, then event", "$alice $create $1")
	if counts := h.bridge.Counts(); counts.BadState != 1 {
		t.Errorf("counts %+v", counts)
	}
}

// A room whose state never arrives delays other rooms only for a while.
func TestStateThatNeverArrives(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newQuietHouse(t) // its homeserver is not reachable
		body := transaction(message("$1"))
		if status, _ := h.request(http.MethodPut, txn, hsToken, body); status != 502 {
			t.Errorf("at first: %d", status)
		}
		<-time.After(9 * time.Minute)
		if status, _ := h.request(http.MethodPut, txn, hsToken, body); status != 502 {
			t.Errorf("after nine minutes: %d", status)
		}
		h.want("until then", "")
		<-time.After(2 * time.Minute)
		h.put(message("$1"))
		h.want("in the end", "$1")
		if counts := h.bridge.Counts(); counts.WithoutState != 1 {
			t.Errorf("counts %+v", counts)
		}
	})
}

// A room is unknown if the bridge crashed while it fetched the state.
func TestHalfFetchedStateIsFetchedAgain(t *testing.T) {
	h := newHouse(t)
	h.hs.SetState("!r", raw(roomOfBob(member("$alice", "@alice:example.org", "join"))...)...)
	seed, err := roomstore.New(h.conn).Seed(t.Context(), "!r")
	if err == nil {
		err = seed.Add(t.Context(), []byte(member("$old", bob, "leave")))
	}
	if err != nil {
		t.Fatal(err)
	}
	eventstest.WaitFor(t, "half a state", func() bool { return h.stored() == "$old" })
	h.put(message("$1"))
	h.want("the whole state", "$old $bob $name $alice $create $1")
}
