package match

import (
	"slices"
	"strconv"
	"testing"
	"time"

	"poked/events"
	"poked/events/stream"
)

// Matrix specification, "Threaded read receipts": an event is in the thread that it names, or
// in that of its parent by a relation of any type, at most three hops away.
func TestPlaceOfRelations(t *testing.T) {
	line := timeline{}
	known := func(id events.EventID) place {
		k, _ := line.find(id)
		return line.roots.decode(k.thread)
	}
	line.add("$other", 1, time.Now(), place{root: "$first"})
	for i, ev := range [][2]string{ // each relates to the one before it
		{"$root", `{}`},
		{"$reply", `{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}`},
		{"$one", `{"m.relates_to":{"rel_type":"m.reference","event_id":"$reply"}}`},
		{"$two", `{"m.relates_to":{"rel_type":"m.replace","event_id":"$one"}}`},
		{"$three", `{"m.relates_to":{"rel_type":"org.example.note","event_id":"$two"}}`},
		{"$four", `{"m.relates_to":{"rel_type":"m.reference","event_id":"$three"}}`},
		{"$five", `{"m.relates_to":{"rel_type":"m.reference","event_id":"$four"}}`},
	} {
		line.add(events.EventID(ev[0]), uint64(i)+2, time.Now(), placeOf([]byte(ev[1]), known))
	}
	for id, want := range map[events.EventID]events.EventID{
		"$root": "", "$reply": "$root", "$one": "$root", "$two": "$root", "$three": "$root", "$four": "", "$five": "", "$other": "$first",
	} {
		if got := known(id).root; got != want {
			t.Errorf("%s is in thread %q, want %q", id, got, want)
		}
	}
	for content, want := range map[string]events.EventID{
		`{}`: "",
		`{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}}`:                                    "$root",
		`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$reply"}}`:                               "$root",
		`{"m.relates_to":{"rel_type":"m.replace","event_id":"$reply"}}`:                                  "$root",
		`{"m.relates_to":{"rel_type":"org.example.note","event_id":"$reply"}}`:                           "$root",
		`{"m.relates_to":{"rel_type":"m.annotation","event_id":"$root"}}`:                                "",
		`{"m.relates_to":{"rel_type":"m.reference","event_id":"$three"}}`:                                "",
		`{"m.relates_to":{"rel_type":"m.reference","event_id":"$unknown"}}`:                              "",
		`{"m.relates_to":{"m.in_reply_to":{"event_id":"$reply"}}}`:                                       "",
		`{"m.relates_to":{"event_id":"$reply"}}`:                                                         "",
		`{"m.relates_to":{"rel_type":7,"event_id":"$reply"}}`:                                            "",
		`{"m.relates_to":{"rel_type":"m.thread","event_id":7}}`:                                          "",
		`{"m.relates_to":"m.thread"}`:                                                                    "",
		`{"m.new_content":{"m.relates_to":{"rel_type":"m.thread","event_id":"$root"}},"m.relates_to":7}`: "",
	} {
		if got := placeOf([]byte(content), known).root; got != want {
			t.Errorf("%s: %q, want %q", content, got, want)
		}
	}
}

// Two bytes hold the last of the threads that a room distinguishes, with the most hops.
func TestManyThreads(t *testing.T) {
	var r roots
	for i := range maxThreads {
		r.encode(place{root: events.EventID(rune(i + 0x4e00))})
	}
	last := place{events.EventID(rune(maxThreads - 1 + 0x4e00)), maxHops}
	if got := r.decode(r.encode(last)); got != last {
		t.Errorf("%+v became %+v", last, got)
	}
	if got := r.encode(place{root: "$more"}); got != 0 {
		t.Errorf("one more thread is %d, want 0: the main timeline", got)
	}
}

// The timeline remembers of each event where its notifications are, in one stream or in several,
// for as long as it remembers the event.
func TestTimelineSpans(t *testing.T) {
	for streams := 1; streams <= 4; streams++ {
		line := timeline{}
		spans := func(seq uint64) (all []stream.Span) {
			for i := range streams {
				all = append(all, stream.Span{After: seq*10 + uint64(i), Count: uint32(i)})
			}
			return all
		}
		const last = 3*timelineLimit + 5
		for seq := uint64(1); seq <= last; seq++ {
			line.add(events.EventID(strconv.FormatUint(seq, 10)), seq, time.Now(), place{})
			if seq%3 == 0 {
				line.wrote(seq, spans(seq))
			}
		}
		if len(line.spans) != streams*len(line.marks) || len(line.marks) > timelineLimit {
			t.Errorf("%d spans for %d events", len(line.spans), len(line.marks))
		}
		line.wrote(1, spans(1)) // forgotten
		for seq := uint64(0); seq <= last+1; seq++ {
			got := line.spansOf(seq)
			switch {
			case seq < line.from || seq > last:
				if got != nil {
					t.Errorf("event %d is forgotten, and has %v", seq, got)
				}
			case seq%3 == 0 && !slices.Equal(got, spans(seq)), seq%3 != 0 && !slices.Equal(got, make([]stream.Span, streams)):
				t.Errorf("event %d of %d streams has %v", seq, streams, got)
			}
		}
		if (&timeline{}).spansOf(1) != nil {
			t.Error("an empty timeline knows spans")
		}
	}
}
