package registry

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"poked/events"
	"poked/events/owner"
	"poked/events/stream"
	"poked/events/wait"
)

// owners answers for the users of all partitions, as the dispatchers that own these do, with
// what a test says that they have not read.
type owners struct {
	t    *testing.T
	conn *stream.Conn

	mu     sync.Mutex
	seq    uint64
	unread map[events.UserID][]owner.ListedNotification
	// results are those of test pushes; later is how often a dispatcher is asked before it
	// knows a pusher.
	results map[events.PusherID]events.TestResult
	later   map[events.PusherID]int
	tests   []events.TestPush
	states  map[events.UserID][]events.PusherState
	slow    time.Duration // how long an answer about pushers takes
	stops   []func()
}

func newOwners(t *testing.T, conn *stream.Conn) *owners {
	o := &owners{t: t, conn: conn, unread: map[events.UserID][]owner.ListedNotification{}}
	o.start()
	t.Cleanup(o.stop)
	return o
}

// start begins to answer.
func (o *owners) start() {
	o.t.Helper()
	for part := range o.conn.Topology().Partitions {
		stop, err := owner.Serve(context.WithoutCancel(o.t.Context()), o.conn, part, owner.Answers{List: o.list, Pushers: o.pushers, Test: o.test})
		if err != nil {
			o.t.Fatal(err)
		}
		o.stops = append(o.stops, stop)
	}
}

// stop ends that, as if no dispatcher ran.
func (o *owners) stop() {
	for _, stop := range o.stops {
		stop()
	}
	o.stops = nil
}

// notify adds a notification of a user in the room of the tests.
func (o *owners) notify(user events.UserID, n events.Notification) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.seq++
	o.unread[user] = append(o.unread[user], owner.ListedNotification{Notification: n, Seq: o.seq, Room: room})
}

// read marks everything of a user as read.
func (o *owners) read(user events.UserID) {
	o.mu.Lock()
	defer o.mu.Unlock()
	delete(o.unread, user)
}

func (o *owners) list(_ context.Context, query owner.ListQuery) (page []owner.ListedNotification, next uint64, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, n := range slices.Backward(o.unread[query.User]) {
		switch {
		case query.Before > 0 && n.Seq >= query.Before, query.Highlight && !n.Highlight:
		case len(page) == query.Limit:
			return page, page[query.Limit-1].Seq, nil
		default:
			page = append(page, n)
		}
	}
	return page, 0, nil
}

func (o *owners) test(_ context.Context, test events.TestPush) (events.TestResult, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tests = append(o.tests, test)
	if o.later[test.Pusher] > 0 {
		o.later[test.Pusher]--
		return events.TestResult{Status: events.TestNotRegistered}, nil
	}
	return o.results[test.Pusher], nil
}

func (o *owners) pushers(ctx context.Context, user events.UserID) ([]events.PusherState, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.slow > 0 {
		_ = wait.For(ctx, o.slow)
		return nil, errors.New("too late")
	}
	return o.states[user], nil
}
