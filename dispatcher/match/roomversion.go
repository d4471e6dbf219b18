package match

import (
	"cmp"
	"strconv"
)

// roomVersion is a room's version, as m.room.create names it.
type roomVersion string

// versionOf returns the version that the content of m.room.create names. A room without one
// has version 1 (Matrix specification, m.room.create).
func versionOf(create []byte) roomVersion {
	return roomVersion(cmp.Or(textOf(create, "room_version"), "1"))
}

// newestVersion is the newest room version that the specification had when this was
// written. What is no number from 1 to this one counts as newer, or as based on a newer
// one.
const newestVersion = 12

// atLeast reports whether the version is this one or newer.
func (v roomVersion) atLeast(wanted int) bool {
	n, err := strconv.Atoi(string(v))
	if err != nil || n < 1 || strconv.Itoa(n) != string(v) {
		n = newestVersion
	}
	return n >= wanted
}
