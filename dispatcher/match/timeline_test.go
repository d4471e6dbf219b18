package match

import (
	"testing"
	"time"

	"poked/events"
)

func TestThreadOfRelations(t *testing.T) {
	line := timeline{}
	line.add("$root", 1, time.Now(), "")
	line.add("$reply", 2, time.Now(), "$root")
	known := func(id events.EventID) events.EventID {
		k, _ := line.find(id)
		return line.roots.root(k.thread)
	}
	for content, want := range map[string]events.EventID{
		`{}`: "",
		`{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}`:                                    "$root",
		`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$reply"}}`:                               "$root",
		`{"m.relates_to":{"rel_type":"m.replace","event_id":"$reply"}}`:                                  "$root",
		`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$root"}}`:                                "",
		`{"m.relates_to":{"m.in_reply_to":{"event_id":"$reply"}}}`:                                       "",
		`{"m.relates_to":{"rel_type":"m.thread","event_id":7}}`:                                          "",
		`{"m.relates_to":"m.thread"}`:                                                                    "",
		`{"m.new_content":{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}},"m.relates_to":7}`: "",
	} {
		if got := threadOf([]byte(content), known); got != want {
			t.Errorf("%s: %q, want %q", content, got, want)
		}
	}
}
