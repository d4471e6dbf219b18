package roomstore

import (
	"context"
	"slices"
	"strings"

	"poked/events"
	"poked/events/stream"
)

// NewThreadSubscriptions returns those of the subscriptions that differ from what ROOM_STATE holds,
// where nothing means that a user is not subscribed. Of what was published a moment ago ROOM_STATE
// may not know yet.
func (s *Store) NewThreadSubscriptions(ctx context.Context, all []events.ThreadSubscription) (news []events.ThreadSubscription, err error) {
	byStream := map[string][]events.ThreadSubscription{}
	for _, sub := range all {
		name := s.conn.Topology().StateOf(events.Token(sub.RoomID))
		byStream[name] = append(byStream[name], sub)
	}
	for name, subs := range byStream {
		for some := range slices.Chunk(subs, maxLast) {
			held, err := s.subscribed(ctx, name, some)
			if err != nil {
				return nil, err
			}
			for _, sub := range some {
				if sub.Subscribed != held[stateSubject(sub)] {
					news = append(news, sub)
				}
			}
		}
	}
	return news, nil
}

// stateSubject returns the subject of a subscription in ROOM_STATE.
func stateSubject(sub events.ThreadSubscription) string {
	room := events.Token(sub.RoomID)
	return "state." + room + strings.TrimPrefix(sub.Subject(), "room."+room+".state")
}

// subscribed returns which of the subscriptions ROOM_STATE holds, by subject.
func (s *Store) subscribed(ctx context.Context, name string, subs []events.ThreadSubscription) (map[string]bool, error) {
	subjects := make([]string, 0, len(subs))
	for _, sub := range subs {
		subjects = append(subjects, stateSubject(sub))
	}
	last, _, err := s.conn.ReadNewest(ctx, name, stream.Newest{Filters: subjects})
	if err != nil {
		return nil, err
	}
	held := make(map[string]bool, len(last))
	for _, msg := range last {
		sub, err := events.ParseThreadSubscription(msg.Data)
		held[msg.Subject] = err == nil && sub.Subscribed
	}
	return held, nil
}
