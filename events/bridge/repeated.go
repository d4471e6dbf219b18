package bridge

import (
	"context"
	"time"

	"poked/events"
)

// freshFor is how old an event may be while NATS still recognizes its id: it does
// so for ten minutes, and clocks differ.
const freshFor = 5 * time.Minute

// withoutRepeated leaves out the events of one room, in order, that are stored
// already.
//
// A homeserver repeats a transaction until it is acknowledged, in the same order and
// maybe with more at its end. So if one of its events is stored, those before it
// are. NATS is asked for that of events which are too old for it to recognize: each
// is compared with the newest one that stands where it would.
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
				newest[subject], err = b.conn.NewestLike(ctx, ev)
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
