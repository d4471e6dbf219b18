package cli

import (
	"net/http"
	"strings"
	"testing"

	"poked/events/eventstest"
)

// Removed pushers are listed from any machine that reaches NATS, also without the database.
func TestRemovedPushersOverNATS(t *testing.T) {
	eventstest.Long(t)
	d := startServe(t, writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"))
	setPusher(t, d.http, gatewayURL, "SECRET-pushkey")
	deleted := `{"kind":null,"app_id":"org.example.app","pushkey":"SECRET-pushkey"}`
	if status, _, answer := post(t, http.MethodPost, d.http+"/_matrix/client/v3/pushers/set", deleted, "alice-token"); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	eventstest.WaitFor(t, "the registry to answer operators", func() bool {
		return poked(t, "", "pushers", "removed", "--nats", d.nats).Code == ExitOK
	})
	for args, want := range map[string]string{
		"": "deleted", "--user @alice:example.org": "deleted", "--user @bob:example.org": "", "--json": `"reason":"deleted"`,
	} {
		got := poked(t, "", append([]string{"pushers", "removed", "--nats", d.nats}, strings.Fields(args)...)...)
		got.Want(t, ExitOK, want, "")
		if want == "" {
			got.Want(t, ExitOK, "", "no removed pusher matches")
		}
	}
	_, alone := startTestNATS(t)
	poked(t, "", "pushers", "removed", "--nats", alone).Want(t, ExitFailure, "", "no registry answers")
}
