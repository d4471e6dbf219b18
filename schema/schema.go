// Package schema holds what poked promises to the outside in machine-readable
// form, embedded into the program:
//
//	migrations/NNNN_*.sql   the registry's SQLite database, numbered, for goose
//	openapi.yaml            the registry's HTTP API, OpenAPI 3.1
//	*.json                  what crosses NATS, JSON Schema 2020-12: one file for each
//	                        kind of message, for authors in languages other than Go
//
// Three of them a homeserver writes (room_event, receipt, account_*), one an
// operator reads (dead_letter), the others pass between poked's own processes.
//
// # Guarantees
//
// Every value that package events writes is valid under its schema and has no
// key that the schema does not describe, and room_event admits what
// [poked/events.ParseRoomEvent] takes and nothing else. Tests hold both against
// the Go types. A migration that has been released is never changed; a new one
// is added.
//
// # What cannot be said here
//
// Identifiers are limited in bytes, and JSON Schema counts characters: the
// descriptions say so where it matters. Where a message stands (its subject or
// key, with ids as unpadded base64url) is told in the descriptions as well.
package schema

import (
	"embed"
	"io/fs"
)

//go:embed migrations/*.sql openapi.yaml *.json
var files embed.FS

// Files returns the embedded files, under the names that the package comment
// lists.
func Files() fs.FS { return files }
