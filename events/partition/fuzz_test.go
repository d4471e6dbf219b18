package partition

import (
	"slices"
	"testing"
)

// A position survives being parsed and written, or is an error.
func FuzzPosition(f *testing.F) {
	for _, value := range []string{
		`{"next":5,"open":[3],"owner":"w","stream":"2026-01-01T00:00:00Z"}`,
		`{"next":5,"open":[3,3],"owner":"w","stream":"2026-01-01T00:00:00Z"}`,
		`{"next":5,"open":[7],"owner":"w","stream":"2026-01-01T00:00:00Z"}`,
		`{"next":-1}`, `{"next":5,"owner":"a.b"}`, `{`, `null`, `[]`,
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		pos, err := parsePosition(raw)
		if err != nil {
			return
		}
		again, err := parsePosition(pos.encode())
		if err != nil || !again.Stream.Equal(pos.Stream) || again.Next != pos.Next || !slices.Equal(again.Open, pos.Open) || again.Owner != pos.Owner {
			t.Errorf("%s is %+v, and then %+v: %v", raw, pos, again, err)
		}
	})
}
