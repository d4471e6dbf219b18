package events_test

import (
	"testing"

	"poked/events"
)

const (
	someMessage = `{"event_id":"$h29ycGbPWYZbKNcKkNXqWyVqJRDMKnOqxRHcJRZkGsw","room_id":"!DFEnSKCfVKHKvcvuRj:example.org","type":"m.room.message",` +
		`"sender":"@alice:example.org","origin_server_ts":1722500000000,"content":{"msgtype":"m.text","body":"Dinner is ready"},"unsigned":{"age":12}}`
	someReceipt = `{"type":"m.receipt","room_id":"!DFEnSKCfVKHKvcvuRj:example.org","content":{"$h29ycGbPWYZbKNcKkNXqWyVqJRDMKnOqxRHcJRZkGsw":` +
		`{"m.read":{"@bob:example.org":{"ts":1722500000000,"thread_id":"main"}}}}}`
	someRoom = events.RoomID("!DFEnSKCfVKHKvcvuRj:example.org")
)

// BenchmarkParse parses what match reads from ROOMS: once for each event, and for each receipt.
func BenchmarkParse(b *testing.B) {
	place := "rooms.7." + events.Token(someRoom)
	b.Run("event", func(b *testing.B) {
		subject, raw := place+".event", []byte(someMessage)
		b.ReportAllocs()
		for b.Loop() {
			if _, err := events.ParseMarked(subject, raw, false); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("receipt", func(b *testing.B) {
		subject, raw := place+".receipt", []byte(someReceipt)
		b.ReportAllocs()
		for b.Loop() {
			if _, all, err := events.ParsePublishedReceipts(subject, raw); err != nil || len(all) != 1 {
				b.Fatal(err, all)
			}
		}
	})
}
