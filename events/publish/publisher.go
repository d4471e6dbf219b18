// Package publish is for the author of a homeserver in Go: it publishes room events,
// receipts and changes of accounts to poked.
//
//	conn, err := stream.Connect(ctx, stream.Config{URL: "nats://127.0.0.1:4222", Name: "homeserver", Log: log})
//	err = conn.Join(ctx)
//	p := publish.NewPublisher(conn)
//	err = p.Event(ctx, event) // nil: NATS has stored it, and poked will not lose it
//
// # The contract
//
// Every method returns nil only when NATS has stored the message. After any other error
// publish the same again, which is safe: events are recognized by their id for 10 minutes,
// and the rest repeats without harm. An error that wraps [events.ErrBadEvent] says that the
// input can never be used; do not repeat it.
//
// Publish the events of one room in the order in which they happened, each after the one
// before it was stored. Begin with each room's state, marked with [Historical]: it changes
// the room and notifies nobody.
//
// A state event becomes the room's state when it is published, whatever its time: poked does
// not resolve state, and what was published last of a type and state key stands. So mark a
// state event that lost with [Superseded], such as a leave that came late of a user who has
// joined again. Without the mark it wins: that user is not notified any more. Publishing the
// state that stands once more, with another Nats-Msg-Id or after ten minutes and marked
// with [Historical], mends it.
//
// With several streams (--streams) a publisher that has joined publishes to the stream of each
// room itself. One that may not look the streams up does not join, and relies on the subject
// mapping of nats.conf, as homeservers in other languages do.
//
// The example is all of a homeserver that poked sees. One in another language publishes
// the same messages itself; the README has the table of subjects.
package publish

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/stream"
)

// Publisher publishes what a homeserver has to report to poked. The package comment has
// the contract of its methods. It is safe for concurrent use.
type Publisher struct {
	conn *stream.Conn
}

// NewPublisher returns a publisher over an open connection. A registry or a dispatcher
// must have set up the topology, and the connection must have joined it
// ([stream.Conn.Join]).
func NewPublisher(conn *stream.Conn) *Publisher { return &Publisher{conn: conn} }

// Option changes how one room event is published.
type Option func(nats.Header)

// Historical marks an event that changes the room's state and notifies nobody.
func Historical() Option {
	return func(h nats.Header) { h.Set(stream.HeaderHistorical, "true") }
}

// Superseded marks a state event that is not the room's current state: it may notify, like
// any event, and changes no state. It is published on the subject of events which are not
// state, room.<room>.event, with the header Poked-Superseded: true.
func Superseded() Option {
	return func(h nats.Header) { h.Set(stream.HeaderSuperseded, "true") }
}

// Reported marks an event that is published as a client sent it, beside the homeserver's own
// events of the room and perhaps before them. The homeserver may publish the same event again,
// with the same id.
func Reported() Option {
	return func(h nats.Header) { h.Set(stream.HeaderReported, "true") }
}

// Traced makes an event a part of a trace: poked passes its traceparent on to the push gateways
// (W3C Trace Context), and adds its own spans if it exports traces. What is no traceparent is
// ignored.
func Traced(traceparent string) Option {
	return func(h nats.Header) {
		if parent := events.ParseTraceParent(traceparent); parent != "" {
			h.Set(events.HeaderTraceParent, string(parent))
		}
	}
}

// address returns the subject and the header of an event.
func address(e *events.RoomEvent, opts []Option) (string, nats.Header) {
	header := nats.Header{jetstream.MsgIDHeader: []string{string(e.EventID)}}
	for _, opt := range opts {
		opt(header)
	}
	if stream.IsSuperseded(header) {
		return e.SupersededSubject(), header
	}
	return e.Subject(), header
}

// Event publishes a room event, state or not, in the client-server format with room_id.
// An error that wraps [events.ErrBadEvent] means that the event can never be used.
func (p *Publisher) Event(ctx context.Context, raw []byte, opts ...Option) error {
	ev, err := events.ParseRoomEvent(raw)
	if err != nil {
		return err
	}
	subject, header := address(&ev, opts)
	return p.publish(ctx, subject, header, raw)
}

// EventAsync is [Publisher.Event] without waiting, for publishing many events. done is
// called once, when the event is stored or with the error, and must not block. The events
// of one room keep the order of the calls unless one of them fails.
func (p *Publisher) EventAsync(raw []byte, done func(error), opts ...Option) {
	ev, err := events.ParseRoomEvent(raw)
	if err != nil {
		done(err)
		return
	}
	batch := p.conn.NewBatch(done)
	subject, header := address(&ev, opts)
	batch.Add(p.conn.Topology().On(subject), header, raw)
	batch.Send()
}

// Receipt publishes an m.receipt EDU of one room:
// {"type":"m.receipt","room_id":…,"content":{event_id:{"m.read":{user_id:{…}}}}}. If none
// of its receipts can be used, it returns an error that wraps [events.ErrBadEvent].
func (p *Publisher) Receipt(ctx context.Context, raw []byte) error {
	room, receipts, err := events.ParseReceipts(raw)
	if err != nil && len(receipts) == 0 {
		return err
	}
	return p.publish(ctx, events.ReceiptSubject(room), nil, raw)
}

// MarkedUnread publishes that a user marked a room as unread, or with unread false took that
// back (room account data m.marked_unread). Publish it in the order of the user's receipts in
// the room, since these take it back, too.
func (p *Publisher) MarkedUnread(ctx context.Context, room events.RoomID, user events.UserID, unread bool) error {
	raw, err := json.Marshal(map[string]any{
		"type": events.TypeMarkedUnread, "room_id": room, "content": map[events.UserID]any{user: map[string]bool{"unread": unread}},
	})
	if err != nil {
		return fmt.Errorf("encode mark: %w", err)
	}
	if _, _, err := events.ParseMarks(raw); err != nil {
		return err
	}
	return p.publish(ctx, events.ReceiptSubject(room), nil, raw)
}

// ThreadSubscription publishes that a user is subscribed to a thread, or not any more (MSC4306), once
// that is so: events that are published later are matched with it. Without it nobody is subscribed.
func (p *Publisher) ThreadSubscription(ctx context.Context, s events.ThreadSubscription) error {
	raw, err := s.Encode()
	if err != nil {
		return err
	}
	return p.publish(ctx, s.Subject(), nil, raw)
}

// Logout publishes that a device was logged out or deleted, so that its pushers are
// removed. An empty deviceID means all devices of the user.
func (p *Publisher) Logout(ctx context.Context, user events.UserID, deviceID string) error {
	return p.account(ctx, user, events.AccountLogout, map[string]any{"user_id": user, "device_id": deviceID})
}

// Deactivated publishes that an account was deactivated, so that all its pushers are
// removed.
func (p *Publisher) Deactivated(ctx context.Context, user events.UserID) error {
	return p.account(ctx, user, events.AccountDeactivated, map[string]any{"user_id": user})
}

// PushRules publishes a user's m.push_rules, {"global":{…}}, as the homeserver stores
// them.
func (p *Publisher) PushRules(ctx context.Context, user events.UserID, rules json.RawMessage) error {
	if err := checkAccountData("push rules", rules); err != nil {
		return err
	}
	return p.account(ctx, user, events.AccountPushRules, map[string]any{"user_id": user, "content": rules})
}

// IgnoredUsers publishes a user's m.ignored_user_list, {"ignored_users":{user_id:{}}}:
// events of these users no longer notify the user.
func (p *Publisher) IgnoredUsers(ctx context.Context, user events.UserID, list json.RawMessage) error {
	if err := checkAccountData("the list of ignored users", list); err != nil {
		return err
	}
	return p.account(ctx, user, events.AccountIgnoredUsers, map[string]any{"user_id": user, "content": list})
}

// DoNotDisturb publishes a user's m.do_not_disturb (MSC4359), {"rooms":{room_id:{}}} with "*" for
// every room: nothing of these rooms is poked.
func (p *Publisher) DoNotDisturb(ctx context.Context, user events.UserID, content json.RawMessage) error {
	if err := checkAccountData("do not disturb", content); err != nil {
		return err
	}
	return p.account(ctx, user, events.AccountDoNotDisturb, map[string]any{"user_id": user, "content": content})
}

// Refetch publishes that account data of a user changed, without saying how: a registry with
// a homeserver and a registration asks the homeserver for it again, at once and after a few
// seconds.
func (p *Publisher) Refetch(ctx context.Context, user events.UserID) error {
	return p.account(ctx, user, events.AccountRefetch, map[string]any{"user_id": user})
}

func checkAccountData(what string, raw json.RawMessage) error {
	if !json.Valid(raw) || !events.IsObject(raw) {
		return fmt.Errorf("%w: %s: not a JSON object", events.ErrBadEvent, what)
	}
	if err := events.CheckJSON(raw); err != nil {
		return fmt.Errorf("%w: %s: %w", events.ErrBadEvent, what, err)
	}
	return nil
}

func (p *Publisher) account(ctx context.Context, user events.UserID, what string, body map[string]any) error {
	if user == "" || len(user) > events.MaxIDBytes {
		return fmt.Errorf("%w: user_id must have 1 to %d bytes", events.ErrBadEvent, events.MaxIDBytes)
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("encode account change: %w", err)
	}
	return p.publish(ctx, events.AccountSubject(user, what), nil, raw)
}

func (p *Publisher) publish(ctx context.Context, subject string, header nats.Header, raw []byte) error {
	return p.conn.Publish(ctx, &nats.Msg{Subject: p.conn.Topology().On(subject), Header: header, Data: raw})
}
