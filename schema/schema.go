// Package schema embeds the machine-readable contracts of poked:
//
//	migrations/*/NNNN_*.sql the registry's database, in SQLite and in PostgreSQL, for goose
//	openapi.yaml            the registry's HTTP API, OpenAPI 3.1
//	*.json                  what crosses NATS, JSON Schema 2020-12: one file for each
//	                        kind of message, for authors in languages other than Go
//
// A homeserver writes room_event, receipt, marked_unread, thread_subscription and account_*; an operator reads dead_letter, outcome and trace;
// the others are for poked's own processes.
//
// # Guarantees
//
// Every value that package events writes is valid under its schema and has no key that
// the schema does not describe. room_event accepts exactly what
// [poked/events.ParseRoomEvent] accepts. Tests compare both with the Go types. The
// statements of a released migration are never changed; a new migration is added.
//
// # What JSON Schema cannot express
//
// Identifiers are limited in bytes, but JSON Schema counts characters; the descriptions
// mention it where it matters. They also name the subject or key of each message, with
// ids as unpadded base64url.
package schema

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*/*.sql openapi.yaml *.json
var files embed.FS

// Files returns the embedded files, under the names listed in the package comment.
func Files() fs.FS { return files }
