package partition

import (
	"time"

	"poked/events/stream"
)

// Stage is one of the two durable steps of a room event: match and deliver.
type Stage struct {
	Name   string // key prefix in POSITIONS, and the name in logs
	stream string // one of those with partitions, see [stream.Conn.StreamOf]
	filter string // subject filter of one partition, a format of its number
	writes bool   // its messages cause messages of NOTIFICATIONS
	// saveEvery is the shortest time between two writes of a position, unless many messages are
	// taken meanwhile. What was done since the last one is done again after a crash.
	saveEvery time.Duration
}

const (
	// saveMatched is long: an event that is matched again notifies nobody twice, since deliver
	// leaves out who has the notification.
	saveMatched = 100 * time.Millisecond
	// saveDelivered is short: a poke whose outcome is not stored is sent again (G2).
	saveDelivered = 10 * time.Millisecond
)

// The stages.
var (
	// StageMatch follows ROOMS: room events and receipts, by room.
	StageMatch = Stage{Name: "match", stream: stream.Rooms, filter: "rooms.%s.>", writes: true, saveEvery: saveMatched} //nolint:gochecknoglobals // a constant of struct type
	// StageStrays follows, as partition 0, the messages of ROOMS outside of all
	// partitions: a subject that contains a wildcard is stored as published.
	StageStrays = Stage{Name: "strays", stream: stream.Rooms, filter: "room%.s.>", writes: true, saveEvery: saveMatched} //nolint:gochecknoglobals // a constant of struct type
	// StageDeliver follows NOTIFICATIONS, by user: notifications, reads and redactions.
	StageDeliver = Stage{Name: "deliver", stream: stream.Notifications, filter: "log.%s", saveEvery: saveDelivered} //nolint:gochecknoglobals // a constant of struct type
)
