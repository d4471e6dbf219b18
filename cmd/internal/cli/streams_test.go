package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// poked serve maps the subjects of its embedded NATS itself, takes the streams as they are at its
// next start, and refuses another number of them with what to do.
func TestServeInFourStreams(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	gateway := startGateway(t)
	args := []string{
		"serve", "--data", filepath.Join(t.TempDir(), "data"), "--tokens", writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"),
		"--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--gateway-allow", "127.0.0.1", "--gateway-allow-http",
	}
	for _, streams := range []string{"4", "0"} {
		p, where := start(t, append(args, "--streams", streams)...)
		nats := fmt.Sprintf("nats://%s", where["nats"])
		setPusher(t, fmt.Sprintf("http://%s", where["http"]), gateway.url, "alice-pushkey")
		publishAll(t, nats, "--historical", memberEvent("alice"), memberEvent("bob"))
		publishAll(t, nats, fmt.Sprintf(`{"event_id":"$with-%s","room_id":"!room:example.org","type":"m.room.message",`+
			`"sender":"@bob:example.org","content":{"msgtype":"m.text","body":"hello alice"}}`, streams))
		select {
		case p := <-gateway.pokes:
			if p.Notification.EventID != "$with-"+streams {
				t.Errorf("--streams %s: poked for %s", streams, p.Notification.EventID)
			}
		case <-time.After(eventstest.Patience):
			t.Fatalf("--streams %s: no poke arrives", streams)
		}
		p.terminate()
	}
	got := poked(t, "", append(args, "--streams", "2")...)
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, "leave --streams out or set it to 4") {
		t.Errorf("two streams where four exist: exit code %d, %s", got.Code, got.Stderr)
	}
}

// A registry refuses a NATS whose subject mapping stores rooms elsewhere, and says which it needs.
func TestRegistryRefusesAnotherMapping(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g := guard(t, readNATSConfOf(t, confOfFour(t)))
	got := poked(t, "", "registry", "--nats", g.url("registry"), "--http", "127.0.0.1:0", "--database", filepath.Join(t.TempDir(), "poked.db"),
		"--tokens", writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"), "--partitions", "32", "--streams", "4")
	if got.Code != ExitFailure || !strings.Contains(got.Stderr, `"rooms.{{partition(32,1)}}.{{wildcard(1)}}.>`) {
		t.Errorf("exit code %d, %s", got.Code, got.Stderr)
	}
}
