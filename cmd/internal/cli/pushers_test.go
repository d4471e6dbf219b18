package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"poked/events"
	"poked/events/eventstest"
)

// A gateway fails; the operator lists its pushers, repairs it and retries them. When it fails
// again, the operator skips a poke.
func TestOperatorRetriesPushers(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	var repaired atomic.Bool
	var accepted atomic.Int64
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !repaired.Load() {
			w.WriteHeader(http.StatusForbidden) // retried after half a minute on average
			return
		}
		accepted.Add(1)
		_, _ = w.Write([]byte(`{}`))
	}))
	defer gateway.Close()
	d := startServe(t, writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"))
	setPusher(t, d.http, gateway.URL+"/_matrix/push/v1/notify", "SECRET-pushkey")
	publishAll(t, d.nats, "--historical", memberEvent("alice"), memberEvent("bob"))
	said := 0
	lagging := func() (states []events.PusherState) {
		said++ // the dispatcher may not know the new pusher yet
		publishAll(t, d.nats, message("room", said))
		got := poked(t, "", "pushers", "--nats", d.nats, "--state", "lagging", "--json")
		got.Want(t, ExitOK, "", "")
		for line := range strings.Lines(got.Stdout) {
			var state events.PusherState
			if err := json.Unmarshal([]byte(line), &state); err != nil {
				t.Fatal(err)
			}
			states = append(states, state)
		}
		return states
	}
	var state events.PusherState
	eventstest.WaitFor(t, "a pusher that lags", func() bool {
		for _, state = range lagging() {
			return true
		}
		return false
	})
	if state.UserID != "@alice:example.org" || state.LastError != "http_403" || state.Attempts < 1 || state.Gateway != gateway.URL {
		t.Errorf("%+v", state)
	}
	for command, want := range map[string]string{
		"pushers":                           "http_403",
		"pushers list --app-id other":       "",
		"pushers --user @alice:example.org": string(state.Pusher),
		"pushers --gateway " + gateway.URL:  "lagging",
		"gateways":                          gateway.URL,
		"gateways --json":                   `"lagging":1`,
	} {
		poked(t, "", append(strings.Fields(command), "--nats", d.nats)...).Want(t, ExitOK, want, "")
	}
	repaired.Store(true)
	poked(t, "", "pushers", "retry", "--nats", d.nats, "--json").Want(t, ExitOK, `{"pushers":1,"retried":1}`, "")
	eventstest.WaitFor(t, "the poke", func() bool { return accepted.Load() > 0 })

	repaired.Store(false)
	eventstest.WaitFor(t, "a pusher that lags again", func() bool { return len(lagging()) > 0 })
	for command, want := range map[string]string{
		"pushers skip": "this selects every lagging pusher: add a filter, or --yes to confirm",
		"pushers skip --user @nobody:example.org":          "no pusher matches",
		"pushers skip --app-id other --yes":                "no pusher matches",
		"pushers retry --user @bob:example.org":            "no pusher matches",
		"pushers retry --gateway https://push.example.org": "no pusher matches",
		"dead drop --user @bob:example.org":                "no dead letter matches",
		"dead retry --reason skipped":                      "no dead letter matches",
		"pushers skip --gateway http://other.example:80":   "no pusher matches",
	} {
		poked(t, "", append(strings.Fields(command), "--nats", d.nats)...).Want(t, ExitUsage, "", want)
	}
	poked(t, "", "pushers", "skip", "--user", "@alice:example.org", "--nats", d.nats, "--json").
		Want(t, ExitOK, `{"pushers":1,"skipped":1}`, "")
	poked(t, "", "dead", "list", "--reason", "skipped", "--nats", d.nats).Want(t, ExitOK, "http_403", "")
	repaired.Store(true)
	poked(t, "", "pushers", "retry", "--nats", d.nats).Want(t, ExitOK, "", "")
	eventstest.WaitFor(t, "nothing to skip", func() bool {
		got := poked(t, "", "pushers", "skip", "--user", "@alice:example.org", "--nats", d.nats)
		return got.Code == ExitUsage && strings.Contains(got.Stderr, "nothing is skipped")
	})
	before := accepted.Load()
	poked(t, "", "dead", "retry", "--reason", "skipped", "--nats", d.nats).Want(t, ExitOK, "", "retried")
	eventstest.WaitFor(t, "the poke that was skipped", func() bool { return accepted.Load() > before })
}

// Clients and operators test pushers, and see why one does not work.
func TestTestPushes(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	var status atomic.Int64
	status.Store(http.StatusOK)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(int(status.Load()))
		_, _ = w.Write([]byte(`{}`))
	}))
	defer gateway.Close()
	d := startServe(t, writeFile(t, "tokens", "alice-token @alice:example.org PHONE\n"))
	setPusher(t, d.http, gateway.URL+"/_matrix/push/v1/notify", "SECRET-pushkey")
	client := func(want string) {
		t.Helper()
		for _, path := range []string{"v3/pushers/push", "unstable/org.matrix.msc4173/pushers/push"} {
			code, answer := request(t.Context(), t, http.MethodPost, d.http+"/_matrix/client/"+path, "alice-token",
				`{"app_id":"org.example.app","pushkey":"SECRET-pushkey","event_id":"$test"}`)
			if code != http.StatusOK || strings.TrimSpace(answer) != want {
				t.Errorf("%s: %d %s, want %s", path, code, answer, want)
			}
		}
	}
	operator := func(code int, want, problem string, args ...string) {
		t.Helper()
		poked(t, "", append(append([]string{"pushers", "test"}, args...), "--nats", d.nats)...).Want(t, code, want, problem)
	}
	client(`{"status":"ok","poked.http_status":200}`)
	operator(ExitOK, `"status":"ok"`, "", "@alice:example.org", "--json")
	operator(ExitOK, gateway.URL, "", "@alice:example.org", "--app-id", "org.example.app")
	status.Store(http.StatusNotFound)
	client(`{"status":"unreachable","poked.class":"http_4xx","poked.http_status":404}`)
	operator(ExitFailure, "http_4xx", "not all test pushes were ok", "@alice:example.org")
	operator(ExitUsage, "", "no pusher matches", "@alice:example.org", "--app-id", "other")
	operator(ExitUsage, "", "no pusher matches", "@alice:example.org", "--pusher", "other")
	operator(ExitUsage, "", "no pusher matches", "@bob:example.org")
	operator(ExitUsage, "", "want a user id", "bob")
}

func TestNoDispatcherAnswers(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	_, url := startTestNATS(t)
	var asking sync.WaitGroup
	for _, command := range []string{"pushers", "pushers retry", "pushers skip --yes", "gateways"} {
		asking.Go(func() {
			got := poked(t, "", append(strings.Fields(command), "--nats", url)...)
			got.Want(t, ExitFailure, "", "no dispatcher answered within 2s: is one running and connected to this NATS?")
			if got.Stdout != "" || strings.Count(got.Stderr, "\n") != 1 {
				t.Errorf("%s: %q, %q", command, got.Stdout, got.Stderr)
			}
		})
	}
	asking.Wait()
}
