package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	"poked/events"
)

// recording is what the demo plays: events and pushers, and the pokes that must
// come of them.
type recording struct {
	events  []recordedEvent
	pushers []recordedPusher
	owed    []*owedPoke // in the order of the events
}

type recordedEvent struct {
	raw    []byte
	id     events.EventID
	room   events.RoomID
	fields map[string]any
}

type recordedPusher struct {
	user   events.UserID
	device string // display name
	pushkeyID
	eventIDOnly bool
	fields      map[string]any // of pushers/set, and user_id
	data        map[string]any // of fields
}

// pushkeyID is all that a poke says of its pusher. Pushers of several users may
// share one.
type pushkeyID struct{ appID, pushkey string }

// owedPoke is a poke that must arrive: what a line of the golden list says of
// one user, for one of their pushers.
type owedPoke struct {
	event  *recordedEvent
	number int // of the event in the recording, from 1
	pusher *recordedPusher
	line   *goldenLine
	group  *goldenGroup
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

// anyCount and anyTime stand in a body for what the recording cannot know: the
// unread count, and when the pusher was set.
const (
	anyCount = "any count"
	anyTime  = "any time"
)

// body returns the poke's body, put together from line, event and pusher as
// testdata/pokes/README.md says.
func (o *owedPoke) body() map[string]any {
	data := maps.Clone(o.pusher.data)
	delete(data, "url")
	device := map[string]any{
		"app_id": o.pusher.appID, "pushkey": o.pusher.pushkey, "pushkey_ts": anyTime, "data": data,
	}
	n := map[string]any{
		"event_id": string(o.event.id), "room_id": string(o.event.room), "prio": o.group.Prio,
		"counts": map[string]any{"unread": anyCount}, "devices": []any{device},
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

// readRecording reads events.jsonl, pushers.json and golden.jsonl of testdata.
func readRecording(eventLines, pushers, golden string) (*recording, error) {
	rec := &recording{}
	for line := range strings.Lines(eventLines) {
		ev, err := readRecordedEvent([]byte(strings.TrimSpace(line)))
		if err != nil {
			return nil, fmt.Errorf("read recorded events: %w", err)
		}
		rec.events = append(rec.events, ev)
	}
	var err error
	if rec.pushers, err = readRecordedPushers(pushers); err != nil {
		return nil, fmt.Errorf("read recorded pushers: %w", err)
	}
	if err := rec.readGolden(golden); err != nil {
		return nil, fmt.Errorf("read golden list: %w", err)
	}
	return rec, nil
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
		})
	}
	return read, nil
}

// readGolden works out which pokes are owed.
func (rec *recording) readGolden(golden string) error {
	numbers := map[events.EventID]int{}
	for i, ev := range rec.events {
		numbers[ev.id] = i + 1
	}
	for raw := range strings.Lines(golden) {
		line := new(goldenLine)
		if err := decodeTree([]byte(raw), line); err != nil {
			return err
		}
		number := numbers[line.EventID]
		if number == 0 {
			return fmt.Errorf("event %s was not recorded", line.EventID)
		}
		rec.owe(line, number)
	}
	return nil
}

func (rec *recording) owe(line *goldenLine, number int) {
	for i := range line.Notified {
		group := &line.Notified[i]
		for _, user := range group.Users {
			for j := range rec.pushers {
				if p := &rec.pushers[j]; p.user == user {
					rec.owed = append(rec.owed, &owedPoke{
						event: &rec.events[number-1], number: number, pusher: p, line: line, group: group,
					})
				}
			}
		}
	}
}

// decodeTree decodes JSON with every number kept as it is written.
func decodeTree(raw []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("decode: %w", err)
	}
	return nil
}
