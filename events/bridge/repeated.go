package bridge

import (
	"context"
	"time"

	"poked/events"
)

// freshFor is the age up to which NATS certainly recognises an event id. It does so for
// ten minutes; the margin is for clock differences.
const freshFor = 5 * time.Minute

// withoutRepeated returns the events of one room, in order, without those that are
// already stored.
//
// A homeserver repeats a transaction until it is acknowledged, in the same order and
// possibly with more events at the end. So if one event is stored, those before it are,
// too. For events that are too old for NATS to recognise by id, it compares each with the
// newest one stored under the same subject.
func (b *Bridge) withoutRepeated(ctx context.Context, list []events.RoomEvent) ([]events.RoomEvent, error) {
	all := len(list)
	defer func() { b.counts.repeated.Add(uint64(all - len(list))) }() //nolint:gosec // never negative
	for i := len(list) - 1; i >= 0; i-- {
		if b.stored.Contains(string(list[i].EventID)) {
			list = list[i+1:]
			return list, nil
		}
	}
	newest := map[string]events.EventID{}
	for i := len(list) - 1; i >= 0; i-- {
		ev := &list[i]
		if time.Since(ev.SentAt()) < freshFor {
			continue
		}
		subject := ev.Subject()
		if _, asked := newest[subject]; !asked {
			err := persist(ctx, func(ctx context.Context) (err error) {
				newest[subject], err = b.seeder.rooms.NewestLike(ctx, ev)
				return err
			})
			if err != nil {
				return nil, err
			}
		}
		if newest[subject] == ev.EventID {
			list = list[i+1:]
			return list, nil
		}
	}
	return list, nil
}
