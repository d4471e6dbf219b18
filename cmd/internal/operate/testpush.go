package operate

import (
	"context"
	"crypto/rand"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/owner"
	"poked/events/stream"
)

// TestedPusher is a pusher with the result of a test push.
type TestedPusher struct {
	Pusher events.PusherID `json:"pusher"`
	AppID  string          `json:"app_id"`
	Names
	events.TestResult
}

// testsAtOnce is how many pushers of a user are tested at the same time.
const testsAtOnce = 8

// TestPushers sends a test push to each pusher of the filter's user, or to those of an app or with
// an id that the filter names, and returns how they went, in the order in which the pushers were
// set. One that is not poked gets none.
func TestPushers(ctx context.Context, conn *stream.Conn, filter events.PusherFilter) ([]TestedPusher, error) {
	found, err := conn.PushersOf(ctx, []events.UserID{filter.UserID})
	if err != nil {
		return nil, err
	}
	var tested []TestedPusher
	var asked []int // of those, the ones that get one
	for _, p := range found[filter.UserID] {
		id := events.NewPusherID(filter.UserID, p.AppID, p.Pushkey)
		if filter.AppID != "" && filter.AppID != p.AppID || filter.Pusher != "" && filter.Pusher != id {
			continue
		}
		one := TestedPusher{Pusher: id, AppID: p.AppID, Names: Names{Device: p.DeviceDisplayName, App: p.AppDisplayName}}
		if !p.IsPoked() {
			one.TestResult = events.Untested(&p)
		} else {
			asked = append(asked, len(tested))
		}
		tested = append(tested, one)
	}
	owners := owner.NewClient(conn)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(testsAtOnce)
	for _, i := range asked {
		group.Go(func() (err error) {
			tested[i].TestResult, err = owners.TestPusher(ctx, events.TestPush{
				UserID: filter.UserID, Pusher: tested[i].Pusher, EventID: events.EventID("$poked-test-" + rand.Text()),
			})
			return err
		})
	}
	return tested, group.Wait()
}
