// Package testdata holds what a real homeserver sent and what must come of it,
// embedded so that an installed program can show it:
//
//	events.jsonl         room events of 12 rooms, one JSON object a line
//	pushers.json         80 pushers of 55 users
//	receipts.jsonl       120 read receipts, each with the event after which it came
//	pokes/golden.jsonl   the pokes that the events cause; pokes/README.md says why
//	pokes/unread.jsonl   what of it is unread when all receipts are in
//
//	live/day.json        what a day of six users at a live homeserver must cause
//
// The other files in this directory are read by tests, each from its place.
// Nothing here changes while the program runs: files come as strings.
package testdata

import _ "embed" // for the files

//go:embed events.jsonl
var events string

//go:embed pushers.json
var pushers string

//go:embed receipts.jsonl
var receipts string

//go:embed pokes/golden.jsonl
var pokes string

//go:embed pokes/unread.jsonl
var unread string

//go:embed live/day.json
var liveDay string

// LiveDay returns live/day.json: an array of steps, each with what it must cause and the
// section of the specification that says so.
func LiveDay() string { return liveDay }

// Events returns events.jsonl: room events in the client-server format with
// room_id, in the order in which they happened.
func Events() string { return events }

// Pushers returns pushers.json: an array of bodies for pushers/set, each with
// the user_id of its owner.
func Pushers() string { return pushers }

// Receipts returns receipts.jsonl: m.receipt EDUs with room_id, in the order in
// which they came, each with the after_event_id of the event that it came after.
func Receipts() string { return receipts }

// Pokes returns pokes/golden.jsonl: for each event that notifies anyone, whom
// and how.
func Pokes() string { return pokes }

// Unread returns pokes/unread.jsonl: for each user who was notified of anything,
// the event_ids of what they have not read at the end.
func Unread() string { return unread }
