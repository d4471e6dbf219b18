package stream

import (
	"encoding/json"
	"fmt"
	"sync"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Removal removes messages of NOTIFICATIONS without waiting. One goroutine uses it.
type Removal struct {
	conn     *Conn
	requests []*nats.Msg
}

// NewRemoval returns a removal of nothing.
func (c *Conn) NewRemoval() *Removal { return &Removal{conn: c} }

// removalRequest is the body of a request of the JetStream API that purges a stream or
// deletes a message.
type removalRequest struct {
	Filter  string `json:"filter,omitempty"`
	Seq     uint64 `json:"seq"`
	NoErase bool   `json:"no_erase,omitempty"`
}

func (r *Removal) add(verb string, request removalRequest) {
	raw, err := json.Marshal(request)
	if err != nil { // cannot happen for strings and numbers
		return
	}
	r.requests = append(r.requests, &nats.Msg{Subject: "$JS.API.STREAM." + verb + "." + Notifications, Data: raw})
}

// Purge removes a user's notifications in a thread of a room, or in all threads if thread is
// [events.AnyThread], before a sequence.
func (r *Removal) Purge(user events.UserID, room events.RoomID, thread string, before uint64) {
	r.add("PURGE", removalRequest{Filter: r.conn.notifySubject(events.Token(user), events.Token(room), thread), Seq: before})
}

// Delete removes one message.
func (r *Removal) Delete(seq uint64) {
	r.add("MSG.DELETE", removalRequest{Seq: seq, NoErase: true})
}

// Send sends the requests. done is called once, in another goroutine, and must not block:
// with nil when the leader has removed everything, or else with the first error; then some
// may have been removed, or were gone before.
func (r *Removal) Send(done func(error)) {
	var mu sync.Mutex
	var failed error
	left := len(r.requests)
	for _, request := range r.requests {
		r.conn.askAsync(request, func(answer *nats.Msg, err error) {
			if err == nil {
				_, err = removed(answer.Data)
			}
			mu.Lock()
			if left--; failed == nil {
				failed = err
			}
			over, err := left == 0, failed
			mu.Unlock()
			if over {
				done(err)
			}
		})
	}
}

// removed returns how many messages a purge removed, or the error in the answer to a request
// that removes messages.
func removed(raw []byte) (purged uint64, err error) {
	var answer struct {
		Purged uint64              `json:"purged"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return 0, fmt.Errorf("remove notifications: %w", err)
	}
	if answer.Error != nil {
		return 0, fmt.Errorf("remove notifications: %w", answer.Error)
	}
	return answer.Purged, nil
}
