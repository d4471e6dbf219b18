package dispatcher

import (
	"fmt"
	"testing"
	"time"

	"poked/events"
)

// A timeline finds each of a room's events, whether it remembers it or has to
// look it up, and knows of what there is none without looking.
func TestTimelineFindsEveryEvent(t *testing.T) {
	bubble(t, func(t *testing.T, h *house) {
		const count = 2*timelineLimit + 7
		r := newRoom("!r")
		m := &matcher{conn: h.conn}
		publish := func(i int) {
			h.publish(fmt.Sprintf(`{"event_id":"$%d","room_id":"!r","type":"m.room.message","sender":"@a:x","content":{}}`, i))
		}
		for i := range count / 2 {
			publish(i)
		}
		<-time.After(2 * fillRecent)
		for i := count / 2; i < count; i++ {
			publish(i)
			if r.seq = uint64(i) + 1; i >= count-3 { // the room was opened just now
				r.timeline.add(events.EventID(fmt.Sprintf("$%d", i)), r.seq, time.Now(), "")
			}
		}
		if _, found, err := m.locate(t.Context(), r, "$none"); err != nil || found {
			t.Errorf("an event that is not there: %t, %v", found, err)
		}
		for _, i := range []int{0, 1, count / 2, count - timelineLimit - 1, count - 4, count - 1} {
			k, found, err := m.locate(t.Context(), r, events.EventID(fmt.Sprintf("$%d", i)))
			if err != nil || !found || k.seq != uint64(i)+1 {
				t.Errorf("event %d stands at %d, %t, %v", i, k.seq, found, err)
			}
		}
		if n := len(r.timeline.marks); n > timelineLimit {
			t.Errorf("%d events are remembered, at most %d may be", n, timelineLimit)
		}
		h.server.Stop() // what is known needs no server
		_, found, err := m.locate(t.Context(), r, "$none")
		if err != nil || found {
			t.Errorf("an event that is known not to be there: %t, %v", found, err)
		}
		h.server.Start()
	})
}

func TestThreadOfRelations(t *testing.T) {
	line := newTimeline()
	line.add("$root", 1, time.Now(), "")
	line.add("$reply", 2, time.Now(), "$root")
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
		if got := line.threadOf([]byte(content)); got != want {
			t.Errorf("%s: %q, want %q", content, got, want)
		}
	}
}
