package demo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"poked/events"
	"poked/testdata"
)

// recording is what the demo plays: events, receipts and pushers, and the pokes that they
// must cause.
type recording struct {
	events   []recordedEvent
	pushers  []recordedPusher
	expected []*expectedPoke // in the order of the events
}

// recordedFiles are the files of testdata that make a recording.
type recordedFiles struct{ events, receipts, pushers, golden, unread string }

func testdataFiles() recordedFiles {
	return recordedFiles{
		events: testdata.Events(), receipts: testdata.Receipts(), pushers: testdata.Pushers(),
		golden: testdata.Pokes(), unread: testdata.Unread(),
	}
}

type recordedEvent struct {
	raw      []byte
	id       events.EventID
	room     events.RoomID
	fields   map[string]any
	receipts [][]byte // sent right after it
}

type recordedPusher struct {
	user   events.UserID
	device string // display name
	pushkeyID
	eventIDOnly bool
	noBadge     bool           // it wants no counts (MSC4076)
	unread      int            // unread notifications of its user at the end
	fields      map[string]any // of pushers/set, and user_id
	data        map[string]any // of fields
}

// pushkeyID identifies the pusher in a poke. Pushers of several users may share one.
type pushkeyID struct{ appID, pushkey string }

// expectedPoke is an expected poke. It may be missing only if its event is read first: one
// user of a line of the golden list, and one of their pushers.
type expectedPoke struct {
	event  *recordedEvent
	number int // of the event in the recording, from 1
	pusher *recordedPusher
	line   *goldenLine
	group  *goldenGroup
	read   bool // the event is read by its user or redacted later in the recording
}

// goldenLine is a line of testdata/pokes/golden.jsonl; README.md beside it
// explains the fields.
type goldenLine struct {
	EventID           events.EventID `json:"event_id"`
	SenderDisplayName string         `json:"sender_display_name"`
	RoomAlias         string         `json:"room_alias"`
	Membership        string         `json:"membership"`
	Notified          []goldenGroup  `json:"notified"`
}

type goldenGroup struct {
	Prio         string          `json:"prio"`
	Tweaks       map[string]any  `json:"tweaks"`
	RoomName     string          `json:"room_name"`
	UserIsTarget bool            `json:"user_is_target"`
	Users        []events.UserID `json:"users"`
}

// anyCount and anyTime replace values of a body that the recording cannot know: the unread
// count, and when the pusher was set.
const (
	anyCount = "any count"
	anyTime  = "any time"
)

// body returns the expected body of the poke, built from line, event and pusher as
// testdata/pokes/README.md describes.
func (o *expectedPoke) body() map[string]any {
	device := o.pusher.deviceMember()
	n := map[string]any{
		"event_id": string(o.event.id), "room_id": string(o.event.room), "prio": o.group.Prio,
		"devices": []any{device},
	}
	if !o.pusher.noBadge {
		n["counts"] = map[string]any{"unread": anyCount}
	}
	if o.pusher.eventIDOnly {
		return map[string]any{"notification": n}
	}
	for _, key := range []string{"type", "sender", "content"} {
		n[key] = o.event.fields[key]
	}
	for key, value := range map[string]string{
		"sender_display_name": o.line.SenderDisplayName, "room_name": o.group.RoomName,
		"room_alias": o.line.RoomAlias, "membership": o.line.Membership,
	} {
		if value != "" {
			n[key] = value
		}
	}
	if o.group.UserIsTarget {
		n["user_is_target"] = true
	}
	if len(o.group.Tweaks) > 0 {
		device["tweaks"] = o.group.Tweaks
	}
	return map[string]any{"notification": n}
}

// badgeBody returns the expected body of a badge-only push.
func (p *recordedPusher) badgeBody() map[string]any {
	return map[string]any{"notification": map[string]any{
		"prio": "low", "counts": map[string]any{"unread": anyCount}, "devices": []any{p.deviceMember()},
	}}
}

// deviceMember returns the device object of a poke.
func (p *recordedPusher) deviceMember() map[string]any {
	data := maps.Clone(p.data)
	delete(data, "url")
	return map[string]any{"app_id": p.appID, "pushkey": p.pushkey, "pushkey_ts": anyTime, "data": data}
}

// readRecording reads the files of a recording.
func readRecording(files recordedFiles) (*recording, error) {
	rec := &recording{}
	for line := range strings.Lines(files.events) {
		ev, err := readRecordedEvent([]byte(strings.TrimSpace(line)))
		if err != nil {
			return nil, fmt.Errorf("read recorded events: %w", err)
		}
		rec.events = append(rec.events, ev)
	}
	var err error
	if rec.pushers, err = readRecordedPushers(files.pushers); err != nil {
		return nil, fmt.Errorf("read recorded pushers: %w", err)
	}
	numbers := rec.numbers()
	if err := rec.readReceipts(files.receipts, numbers); err != nil {
		return nil, fmt.Errorf("read recorded receipts: %w", err)
	}
	if err := rec.readGolden(files.golden, numbers); err != nil {
		return nil, fmt.Errorf("read golden list: %w", err)
	}
	if err := rec.readUnread(files.unread, numbers); err != nil {
		return nil, fmt.Errorf("read list of unread events: %w", err)
	}
	return rec, nil
}

// receipts returns the number of receipts.
func (rec *recording) receipts() (n int) {
	for _, ev := range rec.events {
		n += len(ev.receipts)
	}
	return n
}

// numbers returns the number of each event, from 1.
func (rec *recording) numbers() map[events.EventID]int {
	numbers := make(map[events.EventID]int, len(rec.events))
	for i, ev := range rec.events {
		numbers[ev.id] = i + 1
	}
	return numbers
}

func readRecordedEvent(raw []byte) (recordedEvent, error) {
	ev, err := events.ParseRoomEvent(raw)
	if err != nil {
		return recordedEvent{}, err
	}
	read := recordedEvent{raw: raw, id: ev.EventID, room: ev.RoomID}
	return read, decodeTree(raw, &read.fields)
}

func readRecordedPushers(raw string) ([]recordedPusher, error) {
	var all []map[string]any
	if err := decodeTree([]byte(raw), &all); err != nil {
		return nil, err
	}
	var read []recordedPusher
	for _, fields := range all {
		data, ok := fields["data"].(map[string]any)
		if !ok {
			return nil, fmt.Errorf("pusher %d has no data", len(read)+1)
		}
		text := func(key string) string { s, _ := fields[key].(string); return s }
		read = append(read, recordedPusher{
			user: events.UserID(text("user_id")), device: text("device_display_name"),
			pushkeyID:   pushkeyID{appID: text("app_id"), pushkey: text("pushkey")},
			eventIDOnly: data["format"] == "event_id_only", fields: fields, data: data,
			noBadge: data["org.matrix.msc4076.disable_badge_count"] == true,
		})
	}
	return read, nil
}

// decodeTree decodes JSON and keeps numbers as they are written.
func decodeTree(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
