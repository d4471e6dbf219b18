package dispatcher

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/pushrule"
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

	// Buffers that live from one event to the next.
	head, tail, tweaks, record []byte
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
	batch := m.conn.NewBatch(func(_ uint64, err error) {
		if err != nil {
			m.log.Warn("notifications not stored, matching again", "seq", msg.Seq, "error", err)
			m.follower.Redo(msg)
			return
		}
		m.counts.notifications.Add(uint64(len(notified)))
		m.follower.Done(msg.Seq)
	})
	m.write(batch, msg, ev, r, notified)
	batch.Send()
}

// decision is that an event notifies a user.
type decision struct {
	member  *member
	outcome *pushrule.Outcome
}

// evaluate asks the push rules for everyone who could be notified: joined
// members with a pusher, and who is invited.
func (m *matcher) evaluate(ev *events.RoomEvent, r *room) []decision {
	var notified []decision
	rules := pushrule.Everyone()
	prepared := pushrule.NewEvent(ev.Raw, r.rulesRoom(ev.Sender))
	ask := func(who *member) {
		if who.id == ev.Sender {
			return
		}
		outcome := rules.Evaluate(prepared, pushrule.User{ID: string(who.id), DisplayName: who.displayName})
		if outcome.Notifies() {
			notified = append(notified, decision{who, outcome})
		}
	}
	for _, who := range r.notified(m.dir) {
		ask(who)
	}
	if ev.IsState && ev.Type == "m.room.member" {
		invited := r.members[events.UserID(ev.StateKey)]
		if invited != nil && invited.membership == "invite" && len(m.dir.pushers(invited.id)) > 0 {
			ask(invited)
		}
	}
	return notified
}

// withoutStored leaves out whose notification a worker before us has stored.
func (m *matcher) withoutStored(ctx context.Context, msg events.Message, ev *events.RoomEvent, notified []decision) ([]decision, error) {
	var missing []decision
	for _, d := range notified {
		var stored bool
		err := persist(ctx, m.failed, func() (err error) {
			stored, err = m.conn.HasNotification(ctx, d.member.id, ev.RoomID, msg.Seq, msg.Time)
			return err
		})
		if err != nil {
			return nil, err
		}
		if !stored {
			missing = append(missing, d)
		}
	}
	return missing, nil
}

// write adds one notification for each user to the batch. What all users share
// is built once.
func (m *matcher) write(batch *events.Batch, msg events.Message, ev *events.RoomEvent, r *room, notified []decision) {
	body := pushgateway.Notification{
		EventID: string(ev.EventID), RoomID: string(ev.RoomID), Type: ev.Type, Sender: string(ev.Sender),
		SenderDisplayName: r.displayName(ev.Sender), RoomName: r.title(), RoomAlias: r.alias, Content: ev.Content,
	}
	if ev.IsState && ev.Type == "m.room.member" {
		body.Membership = textOf(ev.Content, "membership")
	}
	shared := body.RoomName != ""
	if shared {
		m.tail = body.AppendTail(m.tail[:0])
	}
	for _, d := range notified {
		if !shared {
			body.RoomName = r.titleFor(d.member.id)
			m.tail = body.AppendTail(m.tail[:0])
		}
		body.Prio = priority(ev, d.outcome)
		body.UserIsTarget = ev.IsState && ev.StateKey == string(d.member.id)
		m.head = append(body.AppendHead(m.head[:0]), m.tail...)
		m.tweaks = d.outcome.AppendTweaks(m.tweaks[:0])
		n := events.Notification{
			EventID: ev.EventID, RoomSeq: msg.Seq, At: msg.Time, RuleID: d.outcome.RuleID,
			Highlight: d.outcome.Highlight, Tweaks: m.tweaks, Body: m.head,
		}
		m.record = n.AppendJSON(m.record[:0])
		batch.Notify(m.conn, d.member.id, ev.RoomID, m.record)
	}
}

// priority is high for what the user should see or hear at once, and for what
// only their device can decrypt and judge.
func priority(ev *events.RoomEvent, o *pushrule.Outcome) pushgateway.Priority {
	if ev.Type == "m.room.encrypted" || o.Highlight || o.Sound != "" {
		return pushgateway.High
	}
	return pushgateway.Low
}
