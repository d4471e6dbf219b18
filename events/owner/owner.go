// Package owner is what the dispatcher that owns a partition is asked about the partition's users:
// what they have not read, how their pushers are, and how a test push to one of them goes. A
// [Client] asks, and [Serve] answers. Each kind of question has a subject for each partition, so
// nobody needs to know which dispatcher that is.
//
//	registry, operator ──▶ poked.notifications.<part>  ──▶ ListNotifications
//	                   ├─▶ poked.pushers.<part>.states ──▶ PusherStates
//	                   └─▶ poked.pushers.<part>.test   ──▶ TestPusher
//
// # What holds
//
//   - Only the owner of a partition answers: once stop of [Serve] has returned, nothing is being
//     answered any more.
//   - What an answer lists was unread at one moment. An answer that would be too long for NATS ends
//     earlier, and says where the next one begins.
//
// # What fails, and how
//
//   - No dispatcher owns the partition, as during a take-over: lists and test pushes are asked again
//     for as long as a take-over takes.
//   - A dispatcher does not answer: a list is asked again for as long as a take-over takes; states
//     fail after a quarter of a second; a test push fails with [ErrUnanswered], since it may have
//     been sent.
//   - NATS is away: questions fail at once, but for one that was asked just before, which waits
//     for its answer as long as ever.
package owner

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
	"poked/events/stream"
)

// Answers are those of the owner of a partition.
type Answers struct {
	// List returns the notifications that a user has not read, and where the next page begins.
	List func(context.Context, ListQuery) (page []ListedNotification, next uint64, err error)
	// Pushers returns the state of each enabled pusher of a user; of one that lags, Waiting may
	// be an upper bound.
	Pushers func(context.Context, events.UserID) ([]events.PusherState, error)
	// Test sends a test push. It returns when ctx ends, with what is known by then.
	Test func(context.Context, events.TestPush) (events.TestResult, error)
}

const (
	// listPatience is how long a list may take, and listTakeOver how long to wait for somebody
	// who answers: as long as a take-over takes.
	listPatience = 3 * time.Second
	listTakeOver = stream.WorkerTTL + 2*time.Second
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

// failure is the part of each answer that tells why there is none.
type failure struct {
	Error string `json:"error,omitempty"`
}

func (e failure) failed() error {
	if e.Error == "" {
		return nil
	}
	return errors.New(e.Error)
}

// statesAnswer is the answer about the pushers of a user.
type statesAnswer struct {
	failure
	Pushers []events.PusherState `json:"pushers"`
}

// testedAnswer is the answer to a test push.
type testedAnswer struct {
	failure
	Result events.TestResult `json:"result"`
}

// Serve answers questions about the users of a partition until stop is called; then none is being
// answered.
func Serve(ctx context.Context, conn *stream.Conn, part int, answers Answers) (stop func(), err error) {
	questions := []struct {
		subject string
		atOnce  int64
		answer  func(ctx context.Context, question []byte) any
	}{
		{listSubject(part), 1, answers.list},
		{statesSubject(part), 1, answers.states},
		{testSubject(part), testsAtOnce, answers.test},
	}
	var stops []func()
	stop = func() {
		for _, stop := range stops {
			stop()
		}
	}
	for _, q := range questions {
		stopOne, err := serve(ctx, conn, q.subject, q.atOnce, q.answer)
		if err != nil {
			stop()
			return nil, fmt.Errorf("answer for a partition: %w", err)
		}
		stops = append(stops, stopOne)
	}
	return stop, nil
}

// serve answers questions on a subject, up to atOnce at the same time; others wait.
func serve(ctx context.Context, conn *stream.Conn, subject string, atOnce int64, answer func(context.Context, []byte) any) (stop func(), err error) {
	ctx, cancel := context.WithCancel(ctx)
	answering := semaphore.NewWeighted(atOnce)
	sub, err := conn.NATS().Subscribe(subject, func(msg *nats.Msg) {
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

func (a *Answers) list(ctx context.Context, question []byte) any {
	ctx, cancel := context.WithTimeout(ctx, listPatience)
	defer cancel()
	var query ListQuery
	var answer listAnswer
	err := json.Unmarshal(question, &query)
	if err == nil {
		answer, err = answerOf(ctx, query, a.List)
	}
	if err != nil {
		return listAnswer{failure: failure{err.Error()}}
	}
	return answer
}

func (a *Answers) states(ctx context.Context, user []byte) any {
	pushers, err := a.Pushers(ctx, events.UserID(user))
	if err != nil {
		return statesAnswer{failure: failure{err.Error()}}
	}
	return statesAnswer{Pushers: pushers}
}

func (a *Answers) test(ctx context.Context, question []byte) any {
	ctx, cancel := context.WithTimeout(ctx, testPatience)
	defer cancel()
	var test events.TestPush
	var answer testedAnswer
	err := json.Unmarshal(question, &test)
	if err == nil {
		answer.Result, err = a.Test(ctx, test)
	}
	if err != nil {
		return testedAnswer{failure: failure{err.Error()}}
	}
	return answer
}
