package cli

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"poked/events/eventstest"
)

// A homeserver that has not loaded the registration is a reason not to be ready, in each
// role that needs it; requests on both sides are counted.
func TestBridgeMetrics(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	hs := homeserverOf(t)
	hs.Register(false)
	p, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", "127.0.0.1:0", "--ops", "127.0.0.1:0",
		"--homeserver", hs.URL, "--registration", writeRegistration(t), "--bridge-http", "127.0.0.1:0",
		"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
	ops, client, bridge := fmt.Sprint(where["ops"]), fmt.Sprintf("http://%s", where["http"]), fmt.Sprintf("http://%s", where["bridge_http"])
	const unknown = "the homeserver does not know the as_token"
	waitReadyz(t, ops, http.StatusServiceUnavailable, unknown+" of poked's registration\n"+unknown) // registry and bridge
	if !strings.Contains(p.log(), `"level":"WARN","msg":"the homeserver does not know poked's registration`) {
		t.Errorf("no warning:\n%s", p.log())
	}
	hs.Register(true)
	waitReadyz(t, ops, http.StatusOK, "ready")
	if !strings.Contains(p.log(), `"msg":"the homeserver knows poked's registration"`) {
		t.Errorf("not a word:\n%s", p.log())
	}
	if _, body := get(t, ops, "/metrics"); strings.Contains(body, "poked_bridge_last_transaction_age_seconds ") {
		t.Error("/metrics has an age without a transaction")
	}

	setPusher(t, client, gatewayURL, "alice-pushkey")
	request(t.Context(), t, "GET", client+"/_matrix/client/v3/pushers", "guess", "")
	request(t.Context(), t, "GET", client+"/_matrix/client/r0/pushrules/global/content/CANARY", "alice-token", "")
	request(t.Context(), t, "GET", client+"/CANARY", "alice-token", "")
	put := func(token, body string, want int) {
		t.Helper()
		if status, answer := request(t.Context(), t, "PUT", bridge+"/_matrix/app/v1/transactions/1", token, body); status != want {
			t.Errorf("transaction: %d %s, want %d", status, answer, want)
		}
	}
	put("CANARY", `{"events":[]}`, 403)
	put(eventstest.HSToken, "no JSON", 400)
	put(eventstest.HSToken, `{"events":[{"event_id":"$1","room_id":"!room:example.org","type":"m.room.message","sender":"@bob:example.org","content":{}}]}`, 200)
	_, body := get(t, ops, "/metrics")
	for _, want := range []string{
		`poked_client_requests_total{path="/pushers/set",status="200"} 1`, `poked_client_requests_total{path="/pushers",status="401"} 1`,
		`poked_client_requests_total{path="/pushrules/global/{kind}/{ruleId}",status="200"} 1`, `poked_client_requests_total{path="",status="404"} 1`,
		`poked_whoami_latency_seconds_count 2`, `poked_whoami_latency_seconds_bucket{le="+Inf"} 2`,
		`poked_imported_users_waiting 0`, `poked_pushers_taken_over_total 0`,
		`poked_bridge_transactions_total 1`, `poked_bridge_events_total 1`, `poked_bridge_receipts_total 0`, `poked_bridge_last_transaction_age_seconds `,
		`poked_bridge_seeds_total 1`, `poked_bridge_seeds_in_progress 0`,
		`poked_bridge_refused_total{reason="token"} 1`, `poked_bridge_refused_total{reason="malformed"} 1`, `poked_bridge_refused_total{reason="unstored"} 0`,
	} {
		if !strings.Contains(body, "\n"+want) {
			t.Errorf("/metrics has no %s", want)
		}
	}
	if strings.Contains(body, "CANARY") || strings.Contains(body, "example.org") {
		t.Errorf("/metrics holds what a client sent:\n%s", body)
	}
	p.terminate()
}
