package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"golang.org/x/sync/semaphore"

	"poked/events"
	"poked/events/wait"
)

// The dispatcher that owns a partition answers questions about its users: what they have not
// read, how their pushers are, and how a test push to one of them goes. Each kind of question has a subject
// for each partition, so nobody needs to know which dispatcher that is.
//
//	registry, operator ──▶ poked.notifications.<part>  ──▶ ListNotifications
//	                   ├─▶ poked.pushers.<part>.states ──▶ PusherStates
//	                   └─▶ poked.pushers.<part>.test   ──▶ TestPusher

// Owner answers for the users of a partition.
type Owner struct {
	// List returns the notifications that a user has not read, and where the next page begins.
	List func(context.Context, ListQuery) (page []ListedNotification, next uint64, err error)
	// Pushers returns the state of each enabled pusher of a user; of one that lags, Waiting may
	// be an upper bound.
	Pushers func(context.Context, events.UserID) ([]events.PusherState, error)
	// Test sends a test push. It returns when ctx ends, with what is known by then.
	Test func(context.Context, events.TestPush) (events.TestResult, error)
}

const (
	// ownerPatience is how long the owner of a partition may take to answer, and
	// ownerTakeOver how long to wait for one: as long as a take-over takes.
	ownerPatience = 3 * time.Second
	ownerTakeOver = WorkerTTL + 2*time.Second
	// statesPatience is how long an answer about the state of pushers may take: nobody needs it.
	statesPatience = 250 * time.Millisecond
	// testPatience is how long a dispatcher waits for the result of a test push, and
	// testAnswer how long it may take to answer then. Both together, and a short take-over
	// before, take less than the 10 s for which the example proxies wait.
	testPatience = 6 * time.Second
	testAnswer   = testPatience + 1500*time.Millisecond
	testTakeOver = 9 * time.Second
	// testsAtOnce is how many test pushes a partition makes at the same time.
	testsAtOnce = 8
)

// errNoOwner is returned when no dispatcher answers for a partition.
var errNoOwner = errors.New("no dispatcher answers for the user's partition")

// ErrUnanswered means that a dispatcher was asked and did not answer in time: whether it did
// what it was asked for is unknown.
var ErrUnanswered = errors.New("the dispatcher did not answer in time")

func listSubject(part int) string { return "poked.notifications." + strconv.Itoa(part) }

func statesSubject(part int) string { return "poked.pushers." + strconv.Itoa(part) + ".states" }

func testSubject(part int) string { return "poked.pushers." + strconv.Itoa(part) + ".test" }

// ownerError is the part of each answer that tells why there is none.
type ownerError struct {
	Error string `json:"error,omitempty"`
}

func (e ownerError) failed() error {
	if e.Error == "" {
		return nil
	}
	return errors.New(e.Error)
}

// statesAnswer is the answer about the pushers of a user.
type statesAnswer struct {
	ownerError
	Pushers []events.PusherState `json:"pushers"`
}

// PusherStates returns what the owner of the user's partition knows of each enabled pusher of a
// user. It asks once, and for a quarter of a second at most.
func (c *Conn) PusherStates(ctx context.Context, user events.UserID) ([]events.PusherState, error) {
	if !c.Connected() {
		return nil, fmt.Errorf("ask for the state of pushers: %w", nats.ErrDisconnected)
	}
	var answer statesAnswer
	if err := c.askOwner(ctx, statesSubject(c.topology.PartOf(user)), statesPatience, []byte(user), &answer); err != nil {
		return nil, fmt.Errorf("ask for the state of pushers: %w", err)
	}
	return answer.Pushers, nil
}

// testedAnswer is the answer to a test push.
type testedAnswer struct {
	ownerError
	Result events.TestResult `json:"result"`
}

// TestPusher makes the dispatcher that owns the user's partition send a test push, and returns
// how it went. While no dispatcher owns the partition, as during a take-over, it asks again for
// a few seconds. An error that wraps [ErrUnanswered] leaves open whether it was sent.
func (c *Conn) TestPusher(ctx context.Context, test events.TestPush) (events.TestResult, error) {
	if c.topology.Partitions == 0 {
		if err := c.Join(ctx); err != nil {
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
		err := c.askOwner(ctx, testSubject(c.topology.PartOf(test.UserID)), testAnswer, raw, &answer)
		switch {
		case err == nil:
			return answer.Result, nil
		case errors.Is(err, ErrUnanswered), !c.Connected(), wait.For(ctx, wait.RetryPause) != nil:
			return events.TestResult{}, fmt.Errorf("test a pusher: %w", err)
		}
	}
}

// askOwner asks the owner of a partition once, and decodes the answer.
func (c *Conn) askOwner(ctx context.Context, subject string, patience time.Duration, query []byte, answer interface{ failed() error }) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, subject, query)
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

// ServeOwner answers questions about the users of a partition until stop is called; then none
// is being answered.
func (c *Conn) ServeOwner(ctx context.Context, part int, owner Owner) (stop func(), err error) {
	questions := []struct {
		subject string
		atOnce  int64
		answer  func(ctx context.Context, question []byte) any
	}{
		{listSubject(part), 1, owner.list},
		{statesSubject(part), 1, owner.states},
		{testSubject(part), testsAtOnce, owner.test},
	}
	var stops []func()
	stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	for _, q := range questions {
		stopOne, err := c.serveOwner(ctx, q.subject, q.atOnce, q.answer)
		if err != nil {
			stop()
			return nil, fmt.Errorf("answer for a partition: %w", err)
		}
		stops = append(stops, stopOne)
	}
	return stop, nil
}

// serveOwner answers questions on a subject, up to atOnce at the same time; others wait.
func (c *Conn) serveOwner(ctx context.Context, subject string, atOnce int64, answer func(context.Context, []byte) any) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	answering := semaphore.NewWeighted(atOnce)
	sub, err := c.nc.Subscribe(subject, func(msg *nats.Msg) {
		if answering.Acquire(ctx, 1) != nil {
			return // another dispatcher answers
		}
		go func() {
			defer answering.Release(1)
			answered := answer(ctx, msg.Data)
			if ctx.Err() != nil {
				return // another dispatcher answers
			}
			if raw, err := json.Marshal(answered); err == nil {
				_ = msg.Respond(raw) // who gets no answer asks again
			}
		}()
	})
	if err != nil {
		cancel()
		return nil, err
	}
	return func() {
		cancel()
		_ = sub.Unsubscribe()                               // fails only on a connection that is closed
		_ = answering.Acquire(context.Background(), atOnce) // waits without an end, so it does not fail
	}, nil
}

func (o *Owner) list(ctx context.Context, question []byte) any {
	ctx, cancel := context.WithTimeout(ctx, ownerPatience)
	defer cancel()
	var query ListQuery
	var answer listAnswer
	err := json.Unmarshal(question, &query)
	if err == nil {
		answer, err = answerOf(ctx, query, o.List)
	}
	if err != nil {
		return listAnswer{ownerError: ownerError{err.Error()}}
	}
	return answer
}

func (o *Owner) states(ctx context.Context, user []byte) any {
	pushers, err := o.Pushers(ctx, events.UserID(user))
	if err != nil {
		return statesAnswer{ownerError: ownerError{err.Error()}}
	}
	return statesAnswer{Pushers: pushers}
}

func (o *Owner) test(ctx context.Context, question []byte) any {
	ctx, cancel := context.WithTimeout(ctx, testPatience)
	defer cancel()
	var test events.TestPush
	var answer testedAnswer
	err := json.Unmarshal(question, &test)
	if err == nil {
		answer.Result, err = o.Test(ctx, test)
	}
	if err != nil {
		return testedAnswer{ownerError: ownerError{err.Error()}}
	}
	return answer
}
