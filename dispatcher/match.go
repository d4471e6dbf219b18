package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"poked/events"
)

// matcher works through one partition of ROOMS: it keeps the state of its rooms
// and turns each room event into one notification for each user that it
// notifies. The follower's goroutine runs it.
type matcher struct {
	conn     *events.Conn
	dir      *directory
	rooms    *rooms
	log      *slog.Logger
	follower *events.Follower
	counts   *counters

	unstored *semaphore.Weighted // all matchers share it

	// Buffers that live from one event to the next.
	recorder recorder
	verdicts []verdict
	notified []decision
}

func (m *matcher) handler() events.Handler {
	return events.Handler{Handle: m.handle, Tick: func(context.Context, time.Time) {}}
}

// handle matches one message of ROOMS. It returns early only when ctx ends;
// then the message stays open and comes again.
func (m *matcher) handle(ctx context.Context, msg events.Message) {
	if strings.HasSuffix(msg.Subject, ".receipt") {
		m.follower.Done(msg.Seq) // a receipt notifies nobody
		return
	}
	ev, err := parseMatched(msg)
	if err != nil {
		m.counts.skipped.Add(1)
		m.log.Warn("unreadable room event skipped", "seq", msg.Seq, "error", err)
		m.follower.Bury(msg, "bad_event", err)
		return
	}
	var r *room
	err = persist(ctx, m.failed, func() (err error) {
		r, err = m.rooms.before(ctx, &ev, msg.Seq)
		return err
	})
	if err != nil {
		return
	}
	m.counts.roomEvents.Add(1)
	if ev.IsState {
		r.fold(&ev)
	}
	r.seq = msg.Seq
	if msg.Historical {
		m.follower.Done(msg.Seq)
		return
	}
	m.match(ctx, msg, &ev, r)
}

// parseMatched reads a room event and checks that it stands where it should:
// one on another room's subject would change that room's state.
func parseMatched(msg events.Message) (events.RoomEvent, error) {
	ev, err := events.ParseRoomEvent(msg.Data)
	if err != nil {
		return ev, err
	}
	tokens := strings.SplitN(msg.Subject, ".", 4)
	if len(tokens) != 4 || "room."+tokens[2]+"."+tokens[3] != ev.Subject() {
		return ev, fmt.Errorf("%w: its subject is another event's", events.ErrBadEvent)
	}
	return ev, nil
}

func (m *matcher) failed(err error) {
	m.log.Warn("match waits for nats", "error", err)
}

// match decides who is notified and writes the notifications down. The room
// event is done when all of them are stored; if that is not certain it is
// matched again, as a replayed one.
func (m *matcher) match(ctx context.Context, msg events.Message, ev *events.RoomEvent, r *room) {
	notified := m.evaluate(ev, r)
	if msg.Replayed {
		var err error
		if notified, err = m.withoutStored(ctx, msg, ev, notified); err != nil {
			return
		}
	}
	if len(notified) == 0 {
		m.follower.Done(msg.Seq)
		return
	}
	f := &fanout{m: m, msg: msg, total: uint64(len(notified)), open: 1}
	draft := m.recorder.draft(msg, ev, r)
	var err error
	for i := 0; i < len(notified) && err == nil; i++ {
		err = f.add(ctx, notified[i].member.id, ev.RoomID, draft.of(&notified[i]))
	}
	f.end(err)
}

// askOneByOne is for how few users each one's log is asked for a notification.
const askOneByOne = 8

// withoutStored leaves out whose notification a worker before us has stored.
func (m *matcher) withoutStored(ctx context.Context, msg events.Message, ev *events.RoomEvent, notified []decision) ([]decision, error) {
	if len(notified) == 0 {
		return nil, nil
	}
	stored := map[events.UserID]bool{}
	err := persist(ctx, m.failed, func() (err error) {
		if len(notified) > askOneByOne {
			stored, err = m.conn.WithNotification(ctx, ev.RoomID, msg.Seq, msg.Time)
			return err
		}
		for i := 0; i < len(notified) && err == nil; i++ {
			id := notified[i].member.id
			stored[id], err = m.conn.HasNotification(ctx, id, ev.RoomID, msg.Seq, msg.Time)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(notified, func(d decision) bool { return stored[d.member.id] }), nil
}
