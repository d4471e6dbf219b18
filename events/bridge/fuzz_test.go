package bridge

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// FuzzTransaction wants every transaction either refused or taken apart with nothing of
// it lost.
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
	f.Fuzz(func(t *testing.T, body []byte) {
		parsed, err := parseTransaction(body)
		if err != nil {
			return
		}
		var parts struct {
			Events    []json.RawMessage  `json:"events"`
			Ephemeral *[]json.RawMessage `json:"ephemeral"`
			Unstable  []json.RawMessage  `json:"de.sorunome.msc2409.ephemeral"`
			ToDevice  []json.RawMessage  `json:"to_device"`
		}
		if err := json.Unmarshal(body, &parts); err != nil {
			t.Fatalf("%q: %v", body, err)
		}
		if parts.Ephemeral == nil {
			parts.Ephemeral = &parts.Unstable
		}
		got := len(parsed.bad) + parsed.ignored
		for _, b := range parsed.rooms {
			got += len(b.events) + len(b.receipts)
		}
		if want := len(parts.Events) + len(*parts.Ephemeral) + len(parts.ToDevice); got != want {
			t.Errorf("%q: %d of %d are left", body, got, want)
		}
	})
}
