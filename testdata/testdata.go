// Package testdata holds what a real homeserver sent and what must come of it,
// embedded so that an installed program can show it:
//
//	events.jsonl         room events of 12 rooms, one JSON object a line
//	pushers.json         80 pushers of 55 users
//	pokes/golden.jsonl   the pokes that these must cause; pokes/README.md says why
//
// The other files in this directory are read by tests, each from its place.
// Nothing here changes while the program runs: files come as strings.
package testdata

import _ "embed" // for the files

//go:embed events.jsonl
var events string

//go:embed pushers.json
var pushers string

//go:embed pokes/golden.jsonl
var pokes string

// Events returns events.jsonl: room events in the client-server format with
// room_id, in the order in which they happened.
func Events() string { return events }

// Pushers returns pushers.json: an array of bodies for pushers/set, each with
// the user_id of its owner.
func Pushers() string { return pushers }

// Pokes returns pokes/golden.jsonl: for each event that notifies anyone, whom
// and how.
func Pokes() string { return pokes }
