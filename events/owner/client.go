package owner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events"
	"poked/events/stream"
	"poked/events/wait"
)

// Client asks the owners of partitions. It is safe for concurrent use.
type Client struct {
	conn *stream.Conn
}

// NewClient returns a client over conn. It needs one that has joined the streams
// ([stream.Conn.Join]); only [Client.TestPusher] does that by itself.
func NewClient(conn *stream.Conn) *Client { return &Client{conn} }

// IsUnread reports whether a user has not read an event of a room that notified them, under
// the terms of [Client.ListNotifications].
func (c *Client) IsUnread(ctx context.Context, user events.UserID, room events.RoomID, event events.EventID) (bool, error) {
	page, _, err := c.ListNotifications(ctx, ListQuery{User: user, Room: room, Event: event, Limit: listedTwins})
	return slices.ContainsFunc(page, func(n ListedNotification) bool { return n.EventID == event }), err
}

// listedTwins is how many events may have the same hash in [Client.IsUnread].
const listedTwins = 8

// ListNotifications returns the unread notifications of a user, newest first: up to limit
// of those before a sequence of NOTIFICATIONS, or of all if that is 0. next is the Before of
// the next page, or 0 after the last. A page may be short without being the last.
//
// The dispatcher that owns the user's partition answers. While there is none, as during a
// take-over, the question is repeated for a few seconds.
//
// It lists what the unread count counts: a retried dead letter is not listed a second time,
// and a notification that is silent for all devices but some is listed.
func (c *Client) ListNotifications(ctx context.Context, query ListQuery) (page []ListedNotification, next uint64, err error) {
	raw, err := json.Marshal(query)
	if err != nil {
		return nil, 0, fmt.Errorf("list notifications: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, listTakeOver)
	defer cancel()
	for {
		var answer listAnswer
		err := c.ask(ctx, listSubject(c.conn.Topology().PartOf(query.User)), listPatience, raw, &answer)
		if err == nil {
			page, err = answer.read()
			return page, answer.Next, err
		}
		if !c.conn.Connected() || wait.For(ctx, wait.RetryPause) != nil {
			return nil, 0, fmt.Errorf("list notifications: %w", err)
		}
	}
}

// PusherStates returns what the owner of the user's partition knows of each enabled pusher of a
// user. It asks once, and for a quarter of a second at most.
func (c *Client) PusherStates(ctx context.Context, user events.UserID) ([]events.PusherState, error) {
	if !c.conn.Connected() {
		return nil, fmt.Errorf("ask for the state of pushers: %w", nats.ErrDisconnected)
	}
	var answer statesAnswer
	if err := c.ask(ctx, statesSubject(c.conn.Topology().PartOf(user)), statesPatience, []byte(user), &answer); err != nil {
		return nil, fmt.Errorf("ask for the state of pushers: %w", err)
	}
	return answer.Pushers, nil
}

// TestPusher makes the dispatcher that owns the user's partition send a test push, and returns
// how it went. While no dispatcher owns the partition, as during a take-over, it asks again for
// a few seconds. An error that wraps [ErrUnanswered] leaves open whether it was sent.
func (c *Client) TestPusher(ctx context.Context, test events.TestPush) (events.TestResult, error) {
	if c.conn.Topology().Partitions == 0 {
		if err := c.conn.Join(ctx); err != nil {
			return events.TestResult{}, err
		}
	}
	raw, err := json.Marshal(test)
	if err != nil {
		return events.TestResult{}, fmt.Errorf("test a pusher: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, testTakeOver)
	defer cancel()
	for {
		var answer testedAnswer
		err := c.ask(ctx, testSubject(c.conn.Topology().PartOf(test.UserID)), testAnswer, raw, &answer)
		switch {
		case err == nil:
			return answer.Result, nil
		case errors.Is(err, ErrUnanswered), !c.conn.Connected(), wait.For(ctx, wait.RetryPause) != nil:
			return events.TestResult{}, fmt.Errorf("test a pusher: %w", err)
		}
	}
}

// ask asks the owner of a partition once, and decodes the answer.
func (c *Client) ask(ctx context.Context, subject string, patience time.Duration, query []byte, answer interface{ failed() error }) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := c.conn.NATS().RequestWithContext(ctx, subject, query)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return errNoOwner
	case errors.Is(err, context.DeadlineExceeded):
		return ErrUnanswered
	case err != nil:
		return err
	}
	if err := json.Unmarshal(msg.Data, answer); err != nil {
		return fmt.Errorf("decode answer: %w", err)
	}
	return answer.failed()
}
