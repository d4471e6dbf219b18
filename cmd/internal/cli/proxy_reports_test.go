package cli

import (
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
)

// Behind the examples for reverse proxies the badge follows receipts and redactions, although
// the homeserver sends none. With poked stopped the homeserver gets them.
func TestReceiptsAndRedactionsByWayOfPoked(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	for name, startProxy := range proxies() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			gateway, hs, addr := startGateway(t), homeserverOf(t), freeAddr(t)
			p, where := start(t, "serve", "--data", filepath.Join(t.TempDir(), "data"), "--http", addr, "--bridge-http", "127.0.0.1:0",
				"--homeserver", hs.URL, "--registration", writeRegistration(t), "--gateway-allow", "127.0.0.1", "--gateway-allow-http", "--partitions", "2")
			c := proxied{t, startProxy(t, strings.TrimPrefix(hs.URL, "http://"), addr)}
			setPusher(t, c.url, gateway.url, "key")
			unread := func(what string, want int) {
				t.Helper()
				for last := -1; last != want; {
					poke, came := pokeWithin(gateway.pokes, 10*time.Second)
					if !came {
						t.Fatalf("%s: unread is %d, want %d\n%s", what, last, want, p.log())
					}
					last = poke.Notification.Counts.Unread
				}
			}
			for n := 1; n <= 3; n++ {
				said := fmt.Sprintf(`{"event_id":"$%d","room_id":"!room:example.org","type":"m.room.message","sender":"@bob:example.org",`+
					`"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"hello"}}`, n, time.Now().UnixMilli())
				status, err := eventstest.PutTransaction(t.Context(), fmt.Sprintf("http://%s", where["bridge_http"]), fmt.Sprint(n), `{"events":[`+said+`]}`)
				if err != nil || status != http.StatusOK {
					t.Fatalf("transaction: %d, %v", status, err)
				}
				unread("a message", n)
			}
			const room = "v3/rooms/%21room:example.org/"
			c.ask("PUT", room+"redact/%242/txn", "alice-token", `{}`)
			unread("a redaction", 2)
			c.ask("POST", room+"receipt/m.read/%241", "alice-token", `{"thread_id":"main"}`)
			unread("a receipt", 1)
			c.ask("POST", room+"read_markers", "alice-token", `{"m.fully_read":"$3","m.read.private":"$3"}`)
			unread("a read marker", 0)

			p.terminate()
			before := len(hs.Hits("POST /_matrix/client/" + room))
			c.askAgain("POST", room+"receipt/m.read/%241", "alice-token", `{}`)
			c.ask("PUT", room+"redact/%243/txn2", "alice-token", `{}`)
			if n := len(hs.Hits("POST /_matrix/client/"+room)) - before; n == 0 {
				t.Errorf("with poked stopped the homeserver received no receipt")
			}
		})
	}
}
