package events

import (
	"encoding/json"
	"errors"
	"testing"
)

func TestReadsAreParsedAsTheyWereWritten(t *testing.T) {
	for _, want := range []Read{
		{UserID: "@a:x", RoomID: "!r", UpTo: 7, Whole: true, By: 1<<63 - 1},
		{UserID: "@a\"\\:x", RoomID: "!é\n", UpTo: 1, Thread: "$root\u2028<"},
		{UserID: "@a:x", RoomID: "!r", Event: "$e", By: 9, Cleared: true},
	} {
		raw := want.AppendJSON([]byte("x"))[1:]
		got, err := ParseLog(raw)
		if err != nil || got.Kind != LogRead || got.Read != want || !json.Valid(raw) {
			t.Errorf("%+v is stored as %s and parsed as %+v, %v", want, raw, got.Read, err)
		}
	}
	for _, raw := range []string{
		`{"kind":"read","user_id":"@a:x","room_id":"!r"}`, `{"kind":"read","user_id":"@a:x","up_to":7}`, `{"kind":"read","room_id":"!r","up_to":7}`,
		`{"kind":"read","user_id":7,"room_id":"!r","up_to":7}`, `{"kind":"read","user_id":"@a:x","room_id":"!r","up_to":7,"event_id":"$e"}`,
		`{"kind":"read","user_id":"@a:x","room_id":"!r","up_to":"x"}`,
	} {
		if got, err := ParseLog([]byte(raw)); !errors.Is(err, ErrBadNotification) {
			t.Errorf("%s is parsed as %+v, %v", raw, got.Read, err)
		}
	}
}

// BenchmarkRead writes what a user has read, as match does, and parses it, as deliver does.
func BenchmarkRead(b *testing.B) {
	read := Read{UserID: "@alice:example.org", RoomID: "!DFEnSKCfVKHKvcvuRj:example.org", UpTo: 1234567, Whole: true, By: 1234568}
	var raw []byte
	b.ReportAllocs()
	for b.Loop() {
		raw = read.AppendJSON(raw[:0])
		if _, err := ParseLog(raw); err != nil {
			b.Fatal(err)
		}
	}
}
