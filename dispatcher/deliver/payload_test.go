package deliver

import (
	"strings"
	"testing"

	"github.com/tidwall/gjson"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/pushgateway"
	"poked/events/webpush"
)

func TestParsePayloadLimits(t *testing.T) {
	got, err := ParsePayloadLimits([]string{"ntfy.sh=4096", " http://up.lan:8080/x = 1024 ", "[fd00::1]:8443=5000", "NTFY.example.org=9999"})
	want := PayloadLimits{"https://ntfy.sh:443": 4096, "http://up.lan:8080": 1024, "https://[fd00::1]:8443": 5000, "https://ntfy.example.org:443": 9999}
	if err != nil || len(got) != len(want) {
		t.Fatalf("parsed %v, %v", got, err)
	}
	for origin, limit := range want {
		if got[origin] != limit {
			t.Errorf("%s: %d, want %d", origin, got[origin], limit)
		}
	}
	for _, bad := range []string{"", "ntfy.sh", "=4096", "ntfy.sh=", "ntfy.sh=1023", "ntfy.sh=-1", "ntfy.sh=4k", "ftp://ntfy.sh=4096", "a b=4096"} {
		if got, err := ParsePayloadLimits([]string{bad}); err == nil {
			t.Errorf("%q is parsed as %v", bad, got)
		}
	}
}

// Whatever its ids are, a browser's poke fits: what it can do without is left out.
func TestIDsOfABrowserFit(t *testing.T) {
	worst := strings.Repeat("\x01", events.MaxIDBytes) // six bytes of JSON each
	p := outgoing{
		pusher: &directory.Pusher{User: events.UserID(worst), AppID: "app", Pushkey: strings.Repeat("k", 87), Data: []byte(`{"x":1}`), NamesUser: true, Web: &directory.Browser{}},
		limit:  webpush.MaxBody,
		n:      events.Notification{Body: (&pushgateway.Notification{EventID: worst, RoomID: worst, Content: []byte(`{}`)}).AppendJSON(nil)},
	}
	body, idsOnly := p.appendShort(nil, BadgeMessages)
	if p.sizeOf(body) > p.limit || !idsOnly || gjson.GetBytes(body, `notification.room_id`).Str != worst {
		t.Errorf("%d bytes, ids only: %t", p.sizeOf(body), idsOnly)
	}
	p.n.Body = (&pushgateway.Notification{EventID: worst, RoomID: "!r", Content: []byte(`{}`)}).AppendJSON(nil)
	p.pusher.Data = []byte(`{"x":"` + strings.Repeat("x", 3000) + `"}`)
	body, _ = p.appendShort(nil, BadgeMessages)
	if p.sizeOf(body) > p.limit || gjson.GetBytes(body, `notification.poked\.user_id`).Str != worst {
		t.Errorf("%d bytes, and the user is left out before the data", p.sizeOf(body))
	}
}
