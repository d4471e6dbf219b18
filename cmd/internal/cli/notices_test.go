package cli

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"poked/events/eventstest"
)

// A gateway fails and is repaired: operators get a notice of each by the webhook, also if that
// fails at first. Its URL, which is a secret, is not in the log.
//
// There are two dispatchers, each of which sees the gateway fail: one of them reports it.
func TestNoticesReachTheWebhook(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	var repaired, webhookWorks atomic.Bool
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if !repaired.Load() {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		_, _ = w.Write([]byte(`{}`))
	}))
	defer gateway.Close()
	type notice struct{ Text, Notice, Gateway, Error string }
	got := make(chan notice, 10)
	webhook := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !webhookWorks.Swap(true) {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		var n notice
		if err := json.NewDecoder(r.Body).Decode(&n); err != nil || r.Method != http.MethodPost || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %v: %v", r.Method, r.Header, err)
		}
		got <- n
	}))
	defer webhook.Close()
	notify := []string{"--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--notify-url", webhook.URL + "/SECRET-path", "--notify-after", "1s"}
	var tokens strings.Builder
	for n := range noticeUsers {
		_, _ = fmt.Fprintf(&tokens, "token-%d @user-%d:example.org PHONE\n", n, n)
	}
	p, where := start(t, append([]string{"serve", "--data", filepath.Join(t.TempDir(), "data"), "--tokens", writeFile(t, "tokens", tokens.String()),
		"--http", "127.0.0.1:0", "--nats-listen", "127.0.0.1:0", "--partitions", "2"}, notify...)...)
	nats := fmt.Sprintf("nats://%s", where["nats"])
	second, _ := start(t, append([]string{"dispatcher", "--nats", nats, "--partitions", "2"}, notify...)...)
	for n := range noticeUsers {
		status, answer := request(t.Context(), t, http.MethodPost, fmt.Sprintf("http://%s/_matrix/client/v3/pushers/set", where["http"]), fmt.Sprintf("token-%d", n),
			fmt.Sprintf(`{"kind":"http","app_id":"org.example.app","app_display_name":"App","device_display_name":"Phone","pushkey":"key-%d","lang":"en","data":{"url":%q}}`,
				n, gateway.URL+"/_matrix/push/v1/notify"))
		if status != http.StatusOK {
			t.Fatalf("%d %s", status, answer)
		}
		publishAll(t, nats, "--historical", memberEvent(fmt.Sprintf("user-%d", n)))
	}
	publishAll(t, nats, "--historical", memberEvent("bob"))
	said := 0
	wait := func(kind string) notice {
		t.Helper()
		for {
			select {
			case n := <-got:
				if n.Notice != kind || n.Gateway != gateway.URL || !strings.Contains(n.Text, gateway.URL) {
					t.Errorf("%+v, want %s", n, kind)
				}
				return n
			case <-time.After(300 * time.Millisecond): // the dispatcher may not know the new pusher yet
				said++
				publishAll(t, nats, message("room", said))
				poked(t, "", "pushers", "retry", "--nats", nats)
			case <-p.ended:
				t.Fatal(p.log())
			}
		}
	}
	if n := wait("gateway_down"); n.Error != "http_502" {
		t.Errorf("%+v", n)
	}
	repaired.Store(true)
	wait("gateway_recovered")
	second.terminate()
	p.terminate()
	if log := p.log() + second.log(); strings.Contains(log, "SECRET") || !strings.Contains(log, "a notice was not sent, trying again") {
		t.Errorf("the log has the URL, or not the failure:\n%s", log)
	}
}

// noticeUsers are so many that each dispatcher owns some of them.
const noticeUsers = 8
