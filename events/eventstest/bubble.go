package eventstest

import (
	"bytes"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/pushrule"
)

// Bubble runs a test in fake time, beside a server and over a connection to it.
func Bubble(t *testing.T, test func(t *testing.T, server *Server, conn *events.Conn)) {
	t.Helper()
	BubbleOf(t, Topology().Partitions, test)
}

// BubbleOf is [Bubble] with this many partitions.
func BubbleOf(t *testing.T, partitions int, test func(t *testing.T, server *Server, conn *events.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		server := StartServer(t)
		conn := server.Connect(events.Topology{Partitions: partitions, Replicas: 1})
		t.Cleanup(func() { <-time.After(time.Minute) }) // fasthttp's cleaners sleep out their turn
		test(t, server, conn)
	})
}

// LogBuffer keeps what is logged, for any number of goroutines.
type LogBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write takes one log line.
func (b *LogBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Write(p)
}

// String returns all lines.
func (b *LogBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.String()
}

// SomePusher returns a pusher at gw.test.
func SomePusher(pushkey string) events.Pusher {
	return events.Pusher{AppID: "app", Pushkey: pushkey, Data: []byte(`{"url":"http://gw.test/_matrix/push/v1/notify"}`)}
}

// Keyword returns rules of a user who wants to hear a word, aloud.
func Keyword(word string) pushrule.Changes {
	return pushrule.Changes{Content: []pushrule.Rule{{
		ID: word, Enabled: true, Pattern: &word,
		Actions: []pushrule.Action{`"notify"`, `{"set_tweak":"sound","value":"ping"}`, `{"set_tweak":"highlight"}`},
	}}}
}
