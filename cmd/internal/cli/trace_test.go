package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"poked/dispatcher/match"
	"poked/dispatcher/trace"
	"poked/events/eventstest"
)

// An operator asks why a phone rang, and why it did not.
func TestG16Trace(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	gateway := startGateway(t)
	d := startServe(t, writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"))
	setPusher(t, d.http, gateway.url, "alice-pushkey")
	publishAll(t, d.nats, "--historical", memberEvent("alice"), memberEvent("bob"))
	firstPoke(t, d.nats, gateway.pokes)
	nats := []string{"--nats", d.nats}
	ask := func(args ...string) string {
		got := poked(t, "", append(args, nats...)...)
		got.Want(t, ExitOK, "", "")
		return got.Stdout
	}
	var said string
	eventstest.WaitFor(t, "the outcome of the poke", func() bool {
		said = ask("trace", "$said-0")
		return strings.Contains(said, "Delivered at")
	})
	for _, part := range []string{
		"$said-0  m.room.message by @bob:example.org", "@alice:example.org was to be notified: underride rule",
		"try 1: delivered", "Phone (", strings.TrimSuffix(gateway.url, "/_matrix/push/v1/notify"),
	} {
		if !strings.Contains(said, part) {
			t.Errorf("the trace lacks %q:\n%s", part, said)
		}
	}
	for line := range strings.Lines(said) {
		if len([]rune(line)) > 120 {
			t.Errorf("a line is %d characters long: %s", len([]rune(line)), line)
		}
	}
	if got := ask("trace", "$said-0", "--user", "@bob:example.org"); !strings.Contains(got, "was not notified: they sent the event") {
		t.Errorf("of the sender it says\n%s", got)
	}
	if got := ask("trace", "$said-0", "--rules", "--user", "@alice:example.org"); !strings.Contains(got, ".m.rule.master") {
		t.Errorf("without rules:\n%s", got)
	}
	var traced trace.Trace
	if err := json.Unmarshal([]byte(ask("trace", "$said-0", "--room", "!room:example.org", "--json")), &traced); err != nil || len(traced.Users) == 0 {
		t.Errorf("as JSON: %+v %v", traced, err)
	}
	var room match.Description
	if err := json.Unmarshal([]byte(ask("room", "!room:example.org", "--json")), &room); err != nil || room.Joined != 2 || !strings.HasPrefix(string(room.Last.EventID), "$said-") {
		t.Errorf("room: %+v %v", room, err)
	}
	for command, want := range map[string]string{
		"room !room:example.org":   "joined members:  2",
		"rules @alice:example.org": "has changed nothing",
	} {
		poked(t, "", append(strings.Fields(command), nats...)...).Want(t, ExitOK, want, "")
	}
	for command, want := range map[string]string{
		"trace $never":              "poked has not received this event",
		"room !nowhere:example.org": "nothing was published of room",
	} {
		poked(t, "", append(strings.Fields(command), nats...)...).Want(t, ExitFailure, "", want)
	}
	for command, want := range map[string]string{
		"trace said-0":             "want an event id such as $",
		"trace $said-0 --user bob": "want a user id",
		"trace $said-0 --room r":   "want a room id",
		"room r":                   "want a room id",
		"rules alice":              "want a user id",
		"rules @alice":             "want a user id",
	} {
		poked(t, "", append(strings.Fields(command), nats...)...).Want(t, ExitUsage, "", want)
	}
}
