package stream_test

import (
	"errors"
	"testing"

	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

// TestG11AnOlderValueNeverReplacesANewer claims a key, lets another registry publish, and
// then writes what was read before that: a value or a deletion, over a value, over nothing,
// and over a deletion.
func TestG11AnOlderValueNeverReplacesANewer(t *testing.T) {
	const user = events.UserID("@alice:x")
	value := func(version int64, filled bool) events.UserPushers {
		set := events.UserPushers{UserID: user, Version: version}
		if filled {
			set.Pushers = []events.Pusher{{AppID: "a", Pushkey: "k", Kind: "http", Data: []byte(`{"url":"https://g.example/_matrix/push/v1/notify"}`)}}
		}
		return set
	}
	for name, c := range map[string]struct{ before, newer, older events.UserPushers }{
		"a value over a value":           {value(1, true), value(3, true), value(2, true)},
		"a value over nothing":           {value(1, false), value(3, true), value(2, true)},
		"a value over a deletion":        {value(1, true), value(3, false), value(2, true)},
		"a value over a second deletion": {value(1, false), value(3, false), value(2, true)},
		"a deletion over a value":        {value(1, true), value(3, true), value(2, false)},
	} {
		t.Run(name, func(t *testing.T) {
			natstest.Bubble(t, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
				other := server.Connect(natstest.Topology())
				if err := conn.PutPushers(t.Context(), c.before); err != nil {
					t.Fatal(err)
				}
				paused, err := conn.ClaimPushers(t.Context(), user)
				if err != nil {
					t.Fatal(err)
				}
				claim, err := other.ClaimPushers(t.Context(), user)
				if err != nil {
					t.Fatal(err)
				}
				if err := claim.Put(t.Context(), c.newer); err != nil {
					t.Fatal(err)
				}
				if err := paused.Put(t.Context(), c.older); !errors.As(err, new(*stream.ConflictError)) {
					t.Errorf("the older one: %v", err)
				}
				again, err := conn.ClaimPushers(t.Context(), user)
				if err != nil {
					t.Fatal(err)
				}
				if err := again.Put(t.Context(), c.newer); err != nil {
					t.Errorf("the newer one again: %v", err)
				}
				for set, err := range conn.AllPushers(t.Context()) {
					if err != nil || set.Version != 3 {
						t.Errorf("the bucket has %+v (%v)", set, err)
					}
				}
			})
		})
	}
}

// TestClaimSeesABucketThatIsAhead writes versions that the bucket has already.
func TestClaimSeesABucketThatIsAhead(t *testing.T) {
	const user = events.UserID("@alice:x")
	natstest.Bubble(t, func(t *testing.T, _ *natstest.Server, conn *stream.Conn) {
		rules := events.UserPushRules{UserID: user, Version: 7, IgnoredUsers: []events.UserID{"@bob:x"}}
		for version, ahead := range map[int64]bool{6: true, 7: true, 8: false} {
			if err := conn.PutPushRules(t.Context(), rules); err != nil {
				t.Fatal(err)
			}
			claim, err := conn.ClaimPushRules(t.Context(), user)
			if err != nil {
				t.Fatal(err)
			}
			err = claim.Put(t.Context(), events.UserPushRules{UserID: user, Version: version, IgnoredUsers: []events.UserID{"@carol:x"}})
			var found *stream.AheadError
			if is := errors.As(err, &found); is != ahead || is && found.Version != 7 {
				t.Errorf("version %d: %v", version, err)
			}
		}
	})
}
