package match

import (
	"fmt"
	"testing"

	"poked/events"
)

func redactionEvent(t *testing.T, sender, content, beside string) *events.RoomEvent {
	t.Helper()
	raw := fmt.Sprintf(`{"event_id":"$x","room_id":"!r:x","type":"m.room.redaction","sender":%q,"content":%s%s}`, sender, content, beside)
	ev, err := events.ParseRoomEvent([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	return &ev
}

// Matrix specification, m.room.redaction: the place of redacts changed with version 11.
func TestWhatARedactionRedacts(t *testing.T) {
	const in, by = `{"redacts":"$in"}`, `,"redacts":"$by"`
	for _, row := range []struct {
		version, content, beside string
		want                     events.EventID
	}{
		{`"1"`, in, by, "$by"},
		{`"10"`, in, by, "$by"},
		{`"10"`, in, "", ""},
		{`"11"`, in, by, "$in"},
		{`"11"`, `{}`, by, ""},
		{`"12"`, in, by, "$in"},
		{`"13"`, in, by, "$in"},
		{`"org.example.new"`, in, by, "$in"},
		{`""`, in, by, "$by"}, // version 1
		{`null`, in, by, "$by"},
		{`11`, in, by, "$by"}, // no string
		{`"11"`, `{"redacts":7}`, by, ""},
		{"", in, "", "$in"}, // not known
		{"", `{}`, by, "$by"},
		{"", in, `,"redacts":"$in"`, "$in"},
		{"", in, by, ""},
	} {
		r := newRoom("!r:x")
		if row.version != "" {
			r.fold(stateEvent("m.room.create", "", `{"room_version":`+row.version+`}`))
		}
		if got := r.redactedBy(redactionEvent(t, "@a:x", row.content, row.beside)); got != row.want {
			t.Errorf("version %s, %s%s: %q, want %q", row.version, row.content, row.beside, got, row.want)
		}
	}
	state := stateEvent("m.room.redaction", "", in)
	if got := newRoom("!r:x").redactedBy(state); got != "" {
		t.Errorf("a state event redacts %q", got)
	}
}

// Room version 3, "Handling redactions": the redact level, or the sender's own server.
func TestPowerToRedact(t *testing.T) {
	create := stateEvent("m.room.create", "", `{"room_version":"11"}`)
	levels := stateEvent("m.room.power_levels", "", `{"users":{"@mod:y":50,"@half:y":49}}`)
	raised := stateEvent("m.room.power_levels", "", `{"users":{"@mod:y":50,"@half:y":49},"redact":51}`)
	lowered := stateEvent("m.room.power_levels", "", `{"redact":0}`)
	newest := stateEvent("m.room.create", "", `{"room_version":"12"}`)
	for name, row := range map[string]struct {
		state  []*events.RoomEvent
		sender string
		may    bool
	}{
		"unknown room":             {nil, "@a:y", true},
		"nobody's level":           {[]*events.RoomEvent{create}, "@a:y", false},
		"creator without levels":   {[]*events.RoomEvent{create}, "@admin:x", true},
		"the default":              {[]*events.RoomEvent{create, levels}, "@mod:y", true},
		"below the default":        {[]*events.RoomEvent{create, levels}, "@half:y", false},
		"raised":                   {[]*events.RoomEvent{create, raised}, "@mod:y", false},
		"lowered":                  {[]*events.RoomEvent{create, lowered}, "@a:y", true},
		"creator since version 12": {[]*events.RoomEvent{newest, raised}, "@admin:x", true},
		"same server":              {[]*events.RoomEvent{create, raised}, "@other:z", true},
		"same name, other port":    {[]*events.RoomEvent{create, raised}, "@other:z:8448", false},
	} {
		d := folded(row.state...).redactionBy(redactionEvent(t, row.sender, `{"redacts":"$by"}`, `,"redacts":"$by"`))
		if got := d.appliesTo("@author:z"); got != row.may {
			t.Errorf("%s: %s may redact: %t, want %t", name, row.sender, got, row.may)
		}
	}
}
