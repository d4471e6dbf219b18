package registry

import (
	"context"

	"poked/events/homeserver"
	"poked/events/publish"
	"poked/events/pushrule"
	"poked/events/roomstore"
	"poked/events/stream"
)

// threads publishes subscriptions to threads that were made without a request through poked: before
// it was there, or while it was away (MSC4306, and the list of MSC4308). A list may be older than what a
// client sends meanwhile and reports.go publishes; the next one mends that.
type threads struct {
	rooms     *roomstore.Store
	publisher *publish.Publisher
}

// newThreads returns nil unless the operator offers the rules about subscriptions.
func newThreads(offers pushrule.Offers, conn *stream.Conn) *threads {
	if offers&pushrule.MSC4306 == 0 {
		return nil
	}
	return &threads{roomstore.New(conn), publish.NewPublisher(conn)}
}

// takeThreads fetches to which threads a user is subscribed, and publishes what the room's state does
// not say yet. It does nothing unless the operator offers the rules, or if the homeserver does not
// support the list. It returns only errors of the homeserver: what is not published now is found
// again the next time.
func (u *upstream) takeThreads(ctx context.Context, account homeserver.Account) error {
	if u.threads == nil {
		return nil
	}
	all, err := account.ThreadSubscriptions(ctx)
	if homeserver.IsErrcode(err, "M_UNRECOGNIZED") {
		return nil
	}
	if err != nil {
		return err //nolint:wrapcheck // it names what was asked
	}
	news, err := u.threads.rooms.NewThreadSubscriptions(ctx, all)
	for i := 0; i < len(news) && err == nil; i++ {
		err = u.threads.publisher.ThreadSubscription(ctx, news[i])
	}
	if err != nil {
		u.log.Warn("subscriptions to threads cannot be published, they are fetched again later", "user_id", string(account.User()), "error", err)
	}
	return nil
}
