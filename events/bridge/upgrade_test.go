package bridge_test

import (
	"net/http"
	"strings"
	"testing"

	"poked/events"
)

// refetches returns the users whose account data is to be fetched, in order.
func (h *house) refetches() string {
	h.t.Helper()
	var users []string
	for _, msg := range h.nats.Stored("ACCOUNTS", "") {
		user, ok := strings.CutSuffix(strings.TrimPrefix(msg.Subject, "account."), ".refetch")
		if !ok {
			h.t.Errorf("published on %s", msg.Subject)
		}
		users = append(users, user)
	}
	return strings.Join(users, " ")
}

// When a local user joins a room that replaces another, the push rules may have changed.
func TestJoinsOfUpgradedRooms(t *testing.T) {
	h := newHouse(t)
	alice, bob := events.Token("@alice:example.org"), events.Token("@bob:example.org")
	elsewhere := strings.NewReplacer(`"!r"`, `"!plain"`, "$", "$plain").Replace
	h.put(elsewhere(create()), elsewhere(member("$1", "@alice:example.org", "join")))
	if got := h.refetches(); got != "" {
		t.Errorf("a room that replaces none: %s", got)
	}
	upgraded := state("$create", "m.room.create", "", `{"predecessor":{"room_id":"!old"}}`)
	h.put(upgraded, member("$1", "@alice:example.org", "join"), member("$2", "@eve:elsewhere.org", "join"),
		member("$3", "@bob:example.org", "invite"))
	if got := h.refetches(); got != alice {
		t.Errorf("of %s, want %s", got, alice)
	}
	h.open() // with empty caches
	profile := strings.TrimSuffix(member("$4", "@alice:example.org", "join"), "}") + `,"unsigned":{"prev_content":{"membership":"join"}}}`
	h.put(profile, member("$5", "@bob:example.org", "join"))
	if got := h.refetches(); got != alice+" "+bob {
		t.Errorf("of %s, want %s", got, alice+" "+bob)
	}
	if status, _ := h.request(http.MethodPut, txn, hsToken, transaction(member("$5", "@bob:example.org", "join"))); status != 200 {
		t.Errorf("repeated: %d", status)
	}
	if got := h.refetches(); got != alice+" "+bob {
		t.Errorf("repeated: of %s", got)
	}
}
