package cli

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/cmd/internal/clitest"
	"poked/events/eventstest"
)

// A real client library sets and reads pushers and push rules of a running serve, and a poke
// follows its rule. The library comes from the npm registry; without Node.js 20, npm or the
// registry the test is skipped.
func TestMatrixJSSDK(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	library := installClient(t)
	tokens := writeFile(t, "tokens", "alice-token @alice:example.org\n")
	gateway := startGateway(t)
	d := startServe(t, tokens)
	check := exec.CommandContext(t.Context(), "node", "check.mjs",
		homeserverBefore(t, d.http), "alice-token", "@alice:example.org", gateway.url)
	check.Dir = library
	if out, err := check.CombinedOutput(); err != nil {
		t.Fatalf("the check with matrix-js-sdk failed: %v\n%s", err, out)
	}

	publishAll(t, d.nats, "--historical", memberEvent("alice"), memberEvent("bob"))
	for n := range 100 { // the dispatcher may not know the pusher and the rule yet
		publishAll(t, d.nats, strings.ReplaceAll(saidByBob(fmt.Sprintf("$said-%d", n)), "hello", "some Rhubarb, please"))
		select {
		case p := <-gateway.pokes:
			dev := p.Notification.Devices[0]
			if dev.Pushkey != "js-phone" {
				t.Fatalf("poked %s", dev.Pushkey)
			}
			if string(dev.Tweaks) == `{"sound":"js.caf","highlight":true}` {
				return
			}
		case <-time.After(200 * time.Millisecond):
		}
	}
	t.Fatal("no poke with the tweaks of the rule arrives")
}

// installClient returns a directory with the check and the library that it uses.
func installClient(t *testing.T) string {
	t.Helper()
	version, err := exec.CommandContext(t.Context(), "node", "--version").Output()
	if err != nil || len(version) < 3 || string(version[:3]) < "v20" {
		t.Skipf("SKIPPED, no client library was tried: Node.js 20 is needed, found %q (%v)", version, err)
	}
	source := fromRoot("testdata", "clients", "js")
	modules, err := clitest.NodeModules(t.Context(), source)
	if err != nil {
		t.Skipf("SKIPPED, no client library was tried: npm cannot install it: %v", err)
	}
	dir := t.TempDir()
	if err := errors.Join(os.CopyFS(dir, os.DirFS(source)), os.Symlink(modules, filepath.Join(dir, "node_modules"))); err != nil {
		t.Fatal(err)
	}
	return dir
}

// homeserverBefore is what clients of a real deployment connect to: a reverse proxy that
// forwards pushers and push rules to poked and everything else to the homeserver, of which
// the library needs only the versions.
func homeserverBefore(t *testing.T, poked string) string {
	t.Helper()
	target, err := url.Parse(poked)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/_matrix/client/versions" {
			w.Header().Set("Content-Type", "application/json")
			_, _ = io.WriteString(w, `{"versions":["v1.11"],"unstable_features":{"org.matrix.msc3881":true}}`)
			return
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server.URL
}
