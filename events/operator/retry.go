package operator

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/stream"
)

// ErrNotRetriable is wrapped by errors that explain why a dead letter cannot be retried.
// The letter stays in the stream.
var ErrNotRetriable = errors.New("cannot be tried again")

// RetryDead retries a dead letter: it publishes the message again, and then deletes the
// letter. For a poke the message is a new notification for its pusher alone; for an
// unreadable message it is that message on its own subject. An error that wraps
// [ErrNotRetriable] means that the letter cannot be retried, [ErrNoDeadLetter] that it is
// gone. After any other error the retry may have happened although the letter is still
// there: another retry may poke twice, and loses nothing.
func (c *Client) RetryDead(ctx context.Context, seq uint64) error {
	letter, err := c.DeadLetter(ctx, seq)
	if err != nil {
		return err
	}
	msg, err := c.revive(ctx, &letter)
	if err != nil {
		return err
	}
	_, err = c.conn.JetStream().PublishMsg(ctx, msg)
	if errors.Is(err, jetstream.ErrNoStreamResponse) {
		err = stream.ErrNoStreams
	}
	if err != nil {
		return fmt.Errorf("retry dead letter %d: %w", seq, err)
	}
	if err := c.DropDead(ctx, seq); err != nil && !errors.Is(err, ErrNoDeadLetter) {
		return err
	}
	return nil
}

// CanRetryDead returns the error with which [Client.RetryDead] would refuse a letter, or
// nil. It changes nothing.
func (c *Client) CanRetryDead(ctx context.Context, letter StoredDeadLetter) error {
	_, err := c.revive(ctx, &letter)
	return err
}

// revive returns the message that retries a letter.
func (c *Client) revive(ctx context.Context, letter *StoredDeadLetter) (*nats.Msg, error) {
	msg, err := c.reviveAs(ctx, letter)
	if err != nil {
		return nil, fmt.Errorf("dead letter %d: %w", letter.Seq, err)
	}
	// The stream recognizes a second retry of the same letter, after one with an unknown
	// outcome, for as long as it remembers message ids.
	id := "dead-" + strconv.FormatUint(letter.Seq, 10) + "-" + strconv.FormatInt(letter.At.UnixNano(), 36)
	msg.Header = nats.Header{jetstream.MsgIDHeader: []string{id}}
	if letter.Historical {
		msg.Header.Set(stream.HeaderHistorical, "true")
	}
	return msg, nil
}

func notRetriable(reason string) error { return fmt.Errorf("%w: %s", ErrNotRetriable, reason) }

func (c *Client) reviveAs(ctx context.Context, letter *StoredDeadLetter) (*nats.Msg, error) {
	switch {
	case len(letter.Message) >= stream.MaxDeadMessage:
		return nil, notRetriable("its message was cut")
	case letter.Reason.IsPoke():
		return c.revivePoke(ctx, letter)
	}
	subject, ok := publishedSubject(letter.Subject)
	if !ok {
		return nil, notRetriable("it holds no message")
	}
	if outdated, err := c.isOutdated(ctx, letter); err != nil || outdated {
		return nil, cmp.Or(err, notRetriable("the room has a newer state"))
	}
	return &nats.Msg{Subject: c.conn.Topology().On(subject), Data: letter.Message}, nil
}

// revivePoke returns a notification for the letter's pusher alone.
func (c *Client) revivePoke(ctx context.Context, letter *StoredDeadLetter) (*nats.Msg, error) {
	n, err := events.ParseNotification(letter.Message)
	if err != nil {
		return nil, notRetriable("its notification is unreadable")
	}
	revision, err := c.findPusher(ctx, letter.UserID, letter.PusherID())
	if err != nil || revision == 0 {
		return nil, cmp.Or(err, notRetriable("its pusher is gone"))
	}
	n.Only, n.At = letter.PusherID(), time.Now()
	again := n.Log(letter.UserID, letter.RoomID)
	again.Users[0].PushersRevision = revision
	return &nats.Msg{Subject: c.conn.Topology().LogSubject(letter.UserID), Data: again.AppendJSON(nil)}, nil
}

// findPusher returns the revision of the user's pushers if this pusher is one of them,
// else 0.
func (c *Client) findPusher(ctx context.Context, user events.UserID, id events.PusherID) (revision uint64, err error) {
	kv, err := c.conn.JetStream().KeyValue(ctx, stream.BucketPushers)
	if err != nil {
		return 0, fmt.Errorf("open bucket %s: %w", stream.BucketPushers, err)
	}
	entry, err := kv.Get(ctx, c.conn.Topology().UserKey(user))
	if errors.Is(err, jetstream.ErrKeyNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("read pushers: %w", err)
	}
	set, err := events.ParseUserPushers(entry.Value())
	if err != nil {
		return 0, err
	}
	there := slices.ContainsFunc(set.Pushers, func(p events.Pusher) bool {
		return events.NewPusherID(user, p.AppID, p.Pushkey) == id
	})
	if !there {
		return 0, nil
	}
	return entry.Revision(), nil
}

// publishedSubject returns the subject on which a message has to be published to be
// stored on this one again.
func publishedSubject(stored string) (string, bool) {
	tokens := strings.SplitN(stored, ".", 3)
	switch {
	case tokens[0] == "log", tokens[0] == "rejected":
		return stored, true
	case len(tokens) < 3:
		return "", false
	case tokens[0] == "rooms", tokens[0] == "room", tokens[0] == "account":
		return events.PublishedAs(stored), true
	}
	return "", false
}

// isOutdated reports whether a letter holds room state that was replaced since: published
// again, it would replace what is newer.
func (c *Client) isOutdated(ctx context.Context, letter *StoredDeadLetter) (bool, error) {
	tokens := strings.SplitN(events.PublishedAs(letter.Subject), ".", 4)
	if len(tokens) < 4 || tokens[0] != "room" || tokens[2] != "state" {
		return false, nil
	}
	state, err := c.conn.LookUp(ctx, c.conn.Topology().StateOf(tokens[1]))
	if err != nil {
		return false, err
	}
	msg, err := state.GetLastMsgForSubject(ctx, "state."+tokens[1]+"."+tokens[3])
	if errors.Is(err, jetstream.ErrMsgNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read room state: %w", err)
	}
	return !bytes.Equal(msg.Data, letter.Message), nil
}
