package registry

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
)

// vector is one expectation from the tests of other servers.
type vector struct {
	ID      string
	Request struct {
		Method, Path string
		Body         json.RawMessage
		Sequence     []string // "PUT room/#c?after=#b"
	}
	Expect struct {
		Status    int
		Errcode   string
		RoomOrder []string `json:"room_order"`
	}
}

// escape writes a path of the vectors, in which # is part of a rule id.
func escape(path string) string { return strings.ReplaceAll(path, "#", "%23") }

// TestVectors replays the expectations of other servers' tests.
func TestVectors(t *testing.T) {
	raw, err := os.ReadFile("../testdata/client_api.json")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Vectors []vector }
	if err := json.Unmarshal(raw, &file); err != nil {
		t.Fatal(err)
	}
	if len(file.Vectors) != 21 {
		t.Fatalf("%d vectors", len(file.Vectors))
	}
	eachDatabase(t, func(t *testing.T, setDatabase func(*Config)) {
		replayVectors(t, newHouse(t, setDatabase), file.Vectors)
	})
}

func replayVectors(t *testing.T, h *house, vectors []vector) {
	t.Helper()
	for _, v := range vectors {
		t.Run(v.ID, func(t *testing.T) {
			h.t = t
			if len(v.Request.Sequence) > 0 {
				h.exec("DELETE FROM push_rules")
				h.replayOrder(v)
				return
			}
			status, _, answer := h.request(v.Request.Method, escape(v.Request.Path), "alice-phone", string(v.Request.Body))
			var e errorBody
			if err := json.Unmarshal(answer, &e); err != nil {
				t.Fatalf("%q is not JSON: %v", answer, err)
			}
			if status != v.Expect.Status || v.Expect.Errcode != "" && e.Errcode != v.Expect.Errcode {
				t.Errorf("%d %+v, want %+v", status, e, v.Expect)
			}
		})
	}
}

// replayOrder sets the rules of a sequence and compares their order.
func (h *house) replayOrder(v vector) {
	h.t.Helper()
	for _, step := range v.Request.Sequence {
		path, query, _ := strings.Cut(strings.TrimPrefix(step, "PUT "), "?")
		if path += ":example.com"; query != "" {
			path += "?" + query + ":example.com"
		}
		h.put("global/"+escape(path), `{"actions":[]}`)
	}
	if got := h.ruleIDs("global/", "room"); !slices.Equal(got, v.Expect.RoomOrder) {
		h.t.Errorf("order %q, want %q", got, v.Expect.RoomOrder)
	}
}
