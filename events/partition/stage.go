package partition

import (
	"poked/events/stream"
)

// Stage is one of the two durable hops of a room event's walk.
type Stage struct {
	Name   string // key prefix in POSITIONS, and the name in logs
	stream string
	filter string // subject filter of one partition, a format of its number
}

// The stages of the walk (DESIGN.md §5).
var (
	// StageMatch follows ROOMS: room events and receipts, by room.
	StageMatch = Stage{Name: "match", stream: stream.Rooms, filter: "rooms.%s.>"} //nolint:gochecknoglobals // a constant of struct type
	// StageStrays follows what ROOMS holds in no partition, as if that were partition 0
	// of it: a subject with a wildcard in it, which is nobody's, stays as published.
	StageStrays = Stage{Name: "strays", stream: stream.Rooms, filter: "room%.s.>"} //nolint:gochecknoglobals // a constant of struct type
	// StageDeliver follows NOTIFICATIONS, by user: notifications, reads and redactions.
	StageDeliver = Stage{Name: "deliver", stream: stream.Notifications, filter: "*.%s.>"} //nolint:gochecknoglobals // a constant of struct type
)
