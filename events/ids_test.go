package events_test

import (
	"math/rand/v2"
	"regexp"
	"strings"
	"testing"

	"poked/events"
)

func TestTokenRoundTrip(t *testing.T) {
	ids := []string{"", "a", "_", "@alice:example.org", "!!!.*>", "$a b\tc", "\x00\xff", "m.room.member", strings.Repeat("é", 127)}
	for range 1000 {
		raw := make([]byte, rand.IntN(events.MaxIDBytes))
		for i := range raw {
			raw[i] = byte(rand.Uint32())
		}
		ids = append(ids, string(raw))
	}
	plain := regexp.MustCompile(`^[A-Za-z0-9_-]+$`)
	seen := map[string]string{}
	for _, id := range ids {
		token := events.Token(id)
		if !plain.MatchString(token) {
			t.Errorf("token of %q is %q, which is not a plain subject token", id, token)
		}
		if other, ok := seen[token]; ok && other != id {
			t.Errorf("%q and %q have the same token", id, other)
		}
		seen[token] = id
		if back, err := events.ParseToken[string](token); err != nil || back != id {
			t.Errorf("token %q of %q reads as %q, %v", token, id, back, err)
		}
	}
}

func TestParseTokenRefusesWhatTokenNeverWrites(t *testing.T) {
	for _, token := range []string{"", "!", "a", "QQ==", "QR", "Q Q"} {
		if id, err := events.ParseToken[string](token); err == nil && token != "" {
			t.Errorf("%q reads as %q", token, id)
		}
	}
}

// A pusher's id differs if any of its parts does, and contains none of them.
func TestNewPusherID(t *testing.T) {
	ids := map[events.PusherID]bool{}
	for _, p := range [][3]string{{"@a:x", "app", "key"}, {"@a:x", "appkey", ""}, {"@a:x", "", "appkey"}, {"@a:xapp", "", "key"}, {"@b:x", "app", "key"}, {"@a:x", "app", "key2"}} {
		id := events.NewPusherID(events.UserID(p[0]), p[1], p[2])
		if len(id) != 22 || strings.Contains(string(id), "key") {
			t.Errorf("id of %v is %q", p, id)
		}
		ids[id] = true
	}
	if len(ids) != 6 {
		t.Errorf("6 pushers have %d ids", len(ids))
	}
}

// The partition of an id is that of its token.
func TestPartitionOfIDIsThatOfTheToken(t *testing.T) {
	for _, id := range []events.UserID{"", "@", "@a", "@a:", "@a:x", "@bob:example.org", "@\xff\x00ü:example.org", events.UserID(strings.Repeat("@x", 127))} {
		for _, partitions := range []int{1, 2, 7, 16, 1024} {
			if got, want := events.PartitionOfID(id, partitions), events.PartitionOf(events.Token(id), partitions); got != want {
				t.Errorf("%q of %d: %d, want %d", id, partitions, got, want)
			}
		}
	}
}
