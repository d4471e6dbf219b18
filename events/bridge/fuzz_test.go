package bridge

import (
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// FuzzTransaction checks that every transaction is either refused or parsed without
// losing any part.
func FuzzTransaction(f *testing.F) {
	recorded, err := os.ReadFile("../../testdata/transactions.jsonl")
	if err != nil {
		f.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(recorded)) {
		var txn struct {
			Body json.RawMessage `json:"body"`
		}
		if json.Unmarshal([]byte(line), &txn) == nil && n < 20 {
			f.Add([]byte(txn.Body))
			n++
		}
	}
	f.Add([]byte(`{"events":[7,null,{}],"ephemeral":[{"type":"m.receipt"}],"de.sorunome.msc2409.ephemeral":[{}],"to_device":[1]}`))
	f.Add([]byte(`{"events":[{"event_id":"$e","room_id":"!r","sender":"@a:x","state_key":"","type":"t"}]}`)) // state without content
	f.Fuzz(func(t *testing.T, body []byte) {
		parsed, err := parseTransaction(body, "")
		if err != nil {
			return
		}
		// An item that cannot be parsed may occur twice: as a dead letter, and as the
		// state event without content.
		got := len(parsed.bad) + parsed.ignored
		for _, b := range parsed.rooms {
			got += len(b.events) + len(b.receipts)
		}
		want := 0
		for _, list := range []string{"events", "to_device", "ephemeral"} {
			want += len(gjson.GetBytes(body, list).Array())
		}
		if got < want {
			t.Errorf("%q: %d of %d are left", body, got, want)
		}
	})
}
