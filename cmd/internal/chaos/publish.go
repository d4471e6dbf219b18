package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/publish"
	"poked/events/wait"
)

// publishPause is the pause before a retry, publishTimeout the timeout for an
// acknowledgement.
const (
	publishPause   = 200 * time.Millisecond
	publishTimeout = 6 * time.Second
)

// homeserver publishes to the rooms as the contract of [publish.Publisher] requires: in
// order for each room, and each event again until it is acknowledged.
type homeserver struct {
	publisher *publish.Publisher
	counts    [publicationKinds]atomic.Int64 // acknowledged
	failed    atomic.Int64                   // attempts without an acknowledgement

	mu   sync.Mutex
	acks []acknowledged
}

// acknowledged is when a publish was acknowledged, and how long that took, which shows how
// long a write takes at that time.
type acknowledged struct {
	at   time.Time
	took time.Duration
}

func (h *homeserver) note(a acknowledged) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.acks = append(h.acks, a)
}

// history returns all acknowledgements.
func (h *homeserver) history() []acknowledged {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.acks)
}

// retry publishes until an acknowledgement arrives or ctx ends.
func (h *homeserver) retry(ctx context.Context, publish func(context.Context) error) error {
	for {
		began := time.Now()
		bounded, cancel := context.WithTimeout(ctx, publishTimeout)
		err := publish(bounded)
		cancel()
		if err == nil {
			h.note(acknowledged{time.Now(), time.Since(began)})
			return nil
		}
		h.failed.Add(1)
		if err := wait.For(ctx, publishPause); err != nil {
			return err
		}
	}
}

// publish publishes in a room, and records it once it is acknowledged.
func (h *homeserver) publish(ctx context.Context, room *chatRoom, u publication, publish func(context.Context) error) error {
	if err := h.retry(ctx, publish); err != nil {
		return err
	}
	h.counts[u.kind].Add(1)
	room.said = append(room.said, u)
	return nil
}

// say sends a message in a room.
func (h *homeserver) say(ctx context.Context, room *chatRoom, event events.EventID, by events.UserID, only map[events.UserID]bool) error {
	raw := fmt.Appendf(nil, `{"event_id":%q,"room_id":%q,"type":"m.room.message","sender":%q,"origin_server_ts":%d,"content":{"msgtype":"m.text","body":"hello"}}`,
		event, room.id, by, time.Now().UnixMilli())
	return h.publish(ctx, room, publication{event: event, by: by, only: only},
		func(ctx context.Context) error { return h.publisher.Event(ctx, raw) })
}

// read publishes a receipt of a user for the last message of a room.
func (h *homeserver) read(ctx context.Context, room *chatRoom, user events.UserID) error {
	last, ok := room.last()
	if !ok {
		return nil
	}
	raw := fmt.Appendf(nil, `{"type":"m.receipt","room_id":%q,"content":{%q:{"m.read":{%q:{"ts":%d}}}}}`,
		room.id, last, user, time.Now().UnixMilli())
	return h.publish(ctx, room, publication{kind: isReceipt, event: last, by: user},
		func(ctx context.Context) error { return h.publisher.Receipt(ctx, raw) })
}

// redact redacts the last message of a room.
func (h *homeserver) redact(ctx context.Context, room *chatRoom, event events.EventID) error {
	last, ok := room.last()
	if !ok {
		return nil
	}
	raw := fmt.Appendf(nil, `{"event_id":%q,"room_id":%q,"type":"m.room.redaction","sender":%q,"origin_server_ts":%d,"content":{"redacts":%q}}`,
		event, room.id, speaker, time.Now().UnixMilli(), last)
	return h.publish(ctx, room, publication{kind: isRedaction, event: last, by: speaker},
		func(ctx context.Context) error { return h.publisher.Event(ctx, raw) })
}

// makeRoom publishes the initial state of a room.
func (h *homeserver) makeRoom(ctx context.Context, room *chatRoom) error {
	state := func(kind, key, content string) error {
		raw := fmt.Appendf(nil, `{"event_id":"$%d-%s-%s","room_id":%q,"type":%q,"sender":%q,"state_key":%q,"content":%s}`,
			room.number, kind, key, room.id, kind, speaker, key, content)
		return h.retry(ctx, func(ctx context.Context) error { return h.publisher.Event(ctx, raw, publish.Historical()) })
	}
	for _, s := range [][3]string{
		{"m.room.create", "", `{"room_version":"11"}`},
		{"m.room.name", "", `{"name":"Chaos"}`},
		{"m.room.member", string(speaker), `{"membership":"join","displayname":"Speaker"}`},
	} {
		if err := state(s[0], s[1], s[2]); err != nil {
			return err
		}
	}
	for _, user := range room.members {
		if err := state("m.room.member", string(user.id), `{"membership":"join"}`); err != nil {
			return err
		}
	}
	return nil
}

// burst is the mean number of events in a room without a pause between them. Only events
// that follow closely can overtake each other.
const burst = 3

// publishEvents publishes in every room until ctx ends: as many events per second in total as
// the pace has, in bursts. It retries an event that it has begun to publish until patience ends.
func (h *homeserver) publishEvents(ctx, patience context.Context, c *population, rate *pace, seed uint64) error {
	var group errgroup.Group
	for _, room := range c.rooms {
		group.Go(func() error {
			rng := rand.New(rand.NewPCG(seed, uint64(room.number))) //nolint:gosec // it needs no secrecy
			for n := 0; ctx.Err() == nil; n++ {
				if err := h.publishOne(patience, room, n, rng); err != nil {
					return err
				}
				if rng.IntN(burst) > 0 {
					continue
				}
				gap := rng.ExpFloat64() * float64(burst*len(c.rooms)) // in events of all rooms
				rate.wait(ctx, gap)
			}
			return nil
		})
	}
	return group.Wait()
}

// publishOne publishes one event in a room: a message, sometimes of a member, a receipt or a
// redaction.
func (h *homeserver) publishOne(ctx context.Context, room *chatRoom, n int, rng *rand.Rand) error {
	member := room.members[rng.IntN(len(room.members))].id
	event := events.EventID(fmt.Sprintf("$said-%d-%d", room.number, n))
	switch kind := rng.IntN(10); {
	case kind == 0:
		return h.read(ctx, room, member)
	case kind <= 2:
		return h.say(ctx, room, event, member, nil)
	case kind == 3:
		return h.redact(ctx, room, event)
	default:
		return h.say(ctx, room, event, speaker, nil)
	}
}
