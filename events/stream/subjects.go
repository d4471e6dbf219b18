package stream

import (
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"

	"poked/events"
)

// LogSubject returns the subject of messages about a user in NOTIFICATIONS.
func (t Topology) LogSubject(user events.UserID) string { return events.LogSubject(t.PartOf(user)) }

// PartOf returns the partition of a user.
func (t Topology) PartOf(user events.UserID) int {
	return events.PartitionOfID(user, t.Partitions)
}

// PartOfRoom returns the partition of a room.
func (t Topology) PartOfRoom(room events.RoomID) int {
	return events.PartitionOfID(room, t.Partitions)
}

// HeaderHistorical is the header, with the value "true", of a room event that changes
// state and notifies nobody, such as one from before the homeserver began to publish.
const HeaderHistorical = "Poked-Historical"

// TraceParentOf returns the traceparent in a header, or "". Clients of NATS write its name in
// several ways.
func TraceParentOf(header nats.Header) events.TraceParent {
	for name, values := range header {
		if len(values) > 0 && strings.EqualFold(name, events.HeaderTraceParent) {
			return events.ParseTraceParent(values[0])
		}
	}
	return ""
}

// IsHistorical reports whether a message has the header [HeaderHistorical].
func IsHistorical(header nats.Header) bool {
	return strings.EqualFold(header.Get(HeaderHistorical), "true")
}

// HeaderSuperseded is the header, with the value "true", of a state event that is not the
// room's current state: it is published on room.<room>.event, and changes no state.
const HeaderSuperseded = "Poked-Superseded"

// IsSuperseded reports whether a message has the header [HeaderSuperseded].
func IsSuperseded(header nats.Header) bool {
	return strings.EqualFold(header.Get(HeaderSuperseded), "true")
}

// HeaderReported is the header, with the value "true", of an event that did not come in the
// homeserver's own order, but as a client sent it: it does not imply that the events before
// it are stored.
const HeaderReported = "Poked-Reported"

// IsReported reports whether a message has the header [HeaderReported].
func IsReported(header nats.Header) bool {
	return strings.EqualFold(header.Get(HeaderReported), "true")
}

// kvSubject returns the subject of a bucket's key (NATS ADR-8).
func kvSubject(bucket, key string) string { return "$KV." + bucket + "." + key }

// keyOf returns the key that a bucket's message belongs to: what [kvSubject] was given.
func keyOf(subject string) string {
	_, rest, _ := strings.Cut(strings.TrimPrefix(subject, "$KV."), ".")
	return rest
}

// UserKey returns the key of a user in the buckets PUSHERS and PUSH_RULES.
func (t Topology) UserKey(user events.UserID) string {
	token := events.Token(user)
	return t.partOf(token) + "." + token
}

// partOf returns the partition of a room's or user's token.
func (t Topology) partOf(token string) string {
	return strconv.Itoa(events.PartitionOf(token, t.Partitions))
}

// RoomSubject returns the subject prefix in ROOMS of what is published on room.<room>.
func (t Topology) RoomSubject(room events.RoomID) string {
	token := events.Token(room)
	return "rooms." + t.partOf(token) + "." + token
}

// StoredSubject returns the subject in ROOMS of an event.
func (t Topology) StoredSubject(ev *events.RoomEvent) string {
	return t.RoomSubject(ev.RoomID) + ev.Subject()[len("room.")+len(events.Token(ev.RoomID)):]
}

// RoomEvents returns the subject filter in ROOMS of everything that is published of a
// room, receipts included.
func (t Topology) RoomEvents(room events.RoomID) string {
	return t.RoomSubject(room) + ".>"
}
