package homeserver

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strconv"

	"poked/events"
)

const (
	pathThreads = "/_matrix/client/unstable/io.element.msc4308/thread_subscriptions"
	// threadsPage is how many subscriptions are asked for at once, maxThreads about how many in all.
	threadsPage = 500
	maxThreads  = 10_000
)

// ThreadSubscriptions returns to which threads the user is subscribed, and is not any more: the 10 000 that
// changed last (MSC4308, "GET /_matrix/client/v1/thread_subscriptions", under its unstable name).
// Ids that the specification does not allow are left out.
func (a Account) ThreadSubscriptions(ctx context.Context) ([]events.ThreadSubscription, error) {
	var all []events.ThreadSubscription
	query := maps.Clone(a.query)
	if query == nil {
		query = url.Values{}
	}
	query.Set("dir", "b")
	query.Set("limit", strconv.Itoa(threadsPage))
	for range maxThreads / threadsPage {
		var page struct {
			Subscribed   map[events.RoomID]map[events.EventID]any `json:"subscribed"`
			Unsubscribed map[events.RoomID]map[events.EventID]any `json:"unsubscribed"`
			End          string                                   `json:"end"`
		}
		if err := a.client.get(ctx, pathThreads, query, a.token, &page); err != nil {
			return nil, err
		}
		all = a.withThreads(all, page.Subscribed, true)
		all = a.withThreads(all, page.Unsubscribed, false)
		if page.End == "" {
			break
		}
		query.Set("from", page.End)
	}
	return all, nil
}

// withThreads appends the user's subscriptions to threads of several rooms, in order.
func (a Account) withThreads(all []events.ThreadSubscription, rooms map[events.RoomID]map[events.EventID]any, subscribed bool) []events.ThreadSubscription {
	for _, room := range slices.Sorted(maps.Keys(rooms)) {
		for _, thread := range slices.Sorted(maps.Keys(rooms[room])) {
			if events.IsID(room) && events.IsID(thread) {
				all = append(all, events.ThreadSubscription{RoomID: room, Thread: thread, UserID: a.user, Subscribed: subscribed})
			}
		}
	}
	return all
}
