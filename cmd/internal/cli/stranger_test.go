package cli

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"poked/events/eventstest"
)

// stranger is a foreign NATS server with the same names for the cluster and its accounts, but
// without passwords.
type stranger struct {
	*server.Server

	log string // file
}

// startStranger starts a server that tries to join the cluster.
func startStranger(t *testing.T, route string) stranger {
	t.Helper()
	config := writeFile(t, "stranger.conf", fmt.Sprintf(`
		listen: "127.0.0.1:-1"
		cluster { name: poked, listen: "127.0.0.1:-1", routes: ["%s"] }
		accounts { POKED { users: [{ user: spy, password: spy }] } }
		no_auth_user: spy
	`, route))
	options, err := server.ProcessConfigFile(config)
	if err != nil {
		t.Fatal(err)
	}
	options.NoSigs = true
	options.LogFile = filepath.Join(t.TempDir(), "log")
	return stranger{startServer(t, options), options.LogFile}
}

// Without the password a server cannot join the cluster: no message passes in either
// direction. With the password messages do pass, so the test can fail.
func TestAStrangersRouteIsRefused(t *testing.T) {
	servers := startCluster(t, fromRoot("cmd", "poked", "deploy", "nats.conf"))
	registry, err := nats.Connect(urlsOf("registry", servers...))
	if err != nil {
		t.Fatal(err)
	}
	defer registry.Close()
	port := servers[0].ClusterAddr().Port
	for credentials, joins := range map[string]bool{"": false, "route:": false, "route:guess": false, "registry:p-registry": false, "route:p-route": true} {
		s := startStranger(t, strings.Replace(routeURL(credentials, port), "//@", "//", 1))
		if !joins {
			eventstest.WaitFor(t, "the stranger to be refused", func() bool {
				said, err := os.ReadFile(s.log)
				return err == nil && strings.Contains(string(said), "Authorization Violation")
			})
			if n := s.NumRoutes(); n != 0 {
				t.Errorf("%q: the stranger has %d routes", credentials, n)
			}
		} else {
			eventstest.WaitFor(t, "the stranger to join", func() bool { return s.NumRoutes() > 0 })
		}
		if out, in := s.exchange(t, registry, joins); out != joins || in != joins {
			t.Errorf("%q: received outside: %t, inside: %t", credentials, out, in)
		}
		s.Shutdown()
	}
}

// exchange reports whether a client of the stranger receives what the registry publishes about a
// pusher (out), and the registry what that client publishes (in). If both are expected, it
// waits for them.
func (s stranger) exchange(t *testing.T, registry *nats.Conn, wait bool) (out, in bool) {
	t.Helper()
	spy, err := nats.Connect(s.ClientURL())
	if err != nil {
		t.Fatal(err)
	}
	defer spy.Close()
	inbox := registry.NewInbox()
	outside, err := spy.SubscribeSync("$KV.PUSHERS.>")
	if err != nil {
		t.Fatal(err)
	}
	inside, err := registry.SubscribeSync(inbox)
	if err != nil {
		t.Fatal(err)
	}
	both := func() bool {
		for _, step := range []error{
			spy.Flush(), registry.Flush(), spy.Publish(inbox, nil), registry.Publish("$KV.PUSHERS.0.user", nil),
			spy.Flush(), registry.Flush(),
		} {
			if step != nil {
				t.Fatal(step)
			}
		}
		atStranger, _, _ := outside.Pending()
		atRegistry, _, _ := inside.Pending()
		out, in = atStranger > 0, atRegistry > 0
		return out && in
	}
	if wait {
		eventstest.WaitFor(t, "messages in both directions", both)
	}
	both()
	return out, in
}
