package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"poked/events"
	"poked/events/wait"
	"poked/registry/problem"
)

const (
	// pathTestPush is the unstable name of pushers/push: MSC4173 is not part of the
	// specification yet.
	pathTestPush = "/_matrix/client/unstable/org.matrix.msc4173/pushers/push"

	// testRate and testBurst limit the test pushes of a user, beside the limit on all requests.
	testRate  = 0.1 // a second
	testBurst = 5
	// testTimeout bounds a test push. The example proxies wait for 10 s.
	testTimeout = 9 * time.Second
)

// clientTest is how a test push went, as the owner of the pusher sees it.
type clientTest struct {
	Status     events.TestStatus `json:"status"`
	Class      string            `json:"poked.class,omitempty"`
	HTTPStatus int               `json:"poked.http_status,omitempty"`
	RetryAt    int64             `json:"poked.retry_at,omitempty"` // milliseconds since the Unix epoch
}

// testPusher answers POST pushers/push (MSC4173): the dispatcher that delivers to one of the
// user's pushers sends it a test push.
func (a *api) testPusher(ctx context.Context, c *call) (any, error) {
	f, err := c.fields()
	if err != nil {
		return nil, err
	}
	app, pushkey, event := f.AppID(), f.Pushkey(), events.EventID(f.Text("event_id"))
	f.Want(events.IsTestEvent(event), "event_id", "must be $ and 1 to 128 letters, digits, - and _")
	if err := f.Err(); err != nil {
		return nil, err
	}
	if err := a.tests.admit(c.identity.UserID); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, testTimeout)
	defer cancel()
	for {
		p, err := a.tested(ctx, c, app, pushkey)
		switch {
		case err != nil:
			return nil, err
		case p == nil:
			return clientTest{Status: events.TestNotRegistered}, nil
		case !p.IsPoked():
			return forTester(events.Untested(p)), nil
		}
		result, err := a.owners.TestPusher(ctx, events.TestPush{
			UserID: c.identity.UserID, Pusher: events.NewPusherID(c.identity.UserID, app, pushkey), EventID: event,
		})
		switch {
		case err != nil:
			return nil, cannotTest(err)
		case result.Status != events.TestNotRegistered:
			return forTester(result), nil
		case wait.For(ctx, wait.RetryPause) != nil: // the dispatcher has yet to hear of it, or it was just removed
			return nil, cannotTest(errors.New("the dispatcher does not know the pusher yet"))
		}
	}
}

// tested returns the pusher to test, or nil if the user has none of that name.
func (a *api) tested(ctx context.Context, c *call, app, pushkey string) (*events.Pusher, error) {
	set, err := a.store.Pushers(ctx, c.identity.UserID)
	if err != nil {
		return nil, err
	}
	for i := range set.Pushers {
		if p := &set.Pushers[i]; p.AppID == app && p.Pushkey == pushkey {
			return p, nil
		}
	}
	if a.upstream == nil {
		return nil, nil
	}
	there, err := a.upstream.pushersThere(ctx, a.upstream.account(c))
	if err != nil {
		return nil, a.upstream.answered(c, err)
	}
	for i := range there {
		if there[i].AppID == app && there[i].Pushkey == pushkey {
			return nil, problem.New(problem.InvalidParam, "the homeserver delivers to this pusher of kind "+there[i].Kind+", and poked cannot test it")
		}
	}
	return nil, nil
}

// cannotTest is the answer when no dispatcher answers.
func cannotTest(err error) error {
	return fmt.Errorf("%w: %w", &problem.Error{
		Kind: problem.NATSAway, Message: "pushers cannot be tested at the moment, try again later", RetryAfter: retryUnavailable,
	}, err)
}

func forTester(result events.TestResult) clientTest {
	test := clientTest{Status: result.Status, Class: result.Class, HTTPStatus: result.HTTPStatus}
	if !result.RetryAt.IsZero() {
		test.RetryAt = result.RetryAt.UnixMilli()
	}
	return test
}
