package operate

import (
	"context"
	"iter"

	"poked/events"
	"poked/events/stream"
)

// A dispatcher knows a pusher by its digest alone. The names that people know its device and
// app by are looked up in the bucket of pushers, for the listed users only.

// Names are the names of a pusher, as its client set them.
type Names struct {
	Device string `json:"device_display_name,omitempty"`
	App    string `json:"app_display_name,omitempty"`
}

// namedChunk is how many listed things are looked up together.
const namedChunk = 200

// named is a listed thing that concerns a pusher.
type named interface {
	// names returns the pusher that it concerns, if any, and where its names belong.
	names() (events.UserID, events.PusherID, *Names)
}

// namedPointer is a pointer to a listed thing.
type namedPointer[T any] interface {
	*T
	named
}

// WithNames yields what list yields, with the names of devices. If they cannot be looked
// up it calls missing and yields the rest without names.
func WithNames[P namedPointer[T], T any](ctx context.Context, conn *stream.Conn, missing Missing, list iter.Seq2[T, error]) iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var chunk []T
		known := true
		flush := func() bool {
			if known {
				if err := fillNames[P](ctx, conn, chunk); err != nil {
					known = false
					missing("the names of devices", err)
				}
			}
			for _, item := range chunk {
				if !yield(item, nil) {
					return false
				}
			}
			chunk = nil
			return true
		}
		for item, err := range list {
			if err != nil {
				if flush() {
					yield(item, err)
				}
				return
			}
			if chunk = append(chunk, item); len(chunk) == namedChunk && !flush() {
				return
			}
		}
		flush()
	}
}

func fillNames[P namedPointer[T], T any](ctx context.Context, conn *stream.Conn, chunk []T) error {
	wanted := map[events.PusherID]*Names{}
	users := map[events.UserID]bool{}
	var list []events.UserID
	for i := range chunk {
		user, pusher, _ := P(&chunk[i]).names()
		if pusher == "" {
			continue
		}
		wanted[pusher] = &Names{}
		if !users[user] {
			users[user] = true
			list = append(list, user)
		}
	}
	if len(list) == 0 {
		return nil
	}
	found, err := conn.PushersOf(ctx, list)
	if err != nil {
		return err
	}
	for user, pushers := range found {
		for _, p := range pushers {
			if names := wanted[events.NewPusherID(user, p.AppID, p.Pushkey)]; names != nil {
				names.Device, names.App = p.DeviceDisplayName, p.AppDisplayName
			}
		}
	}
	for i := range chunk {
		if _, pusher, names := P(&chunk[i]).names(); pusher != "" {
			*names = *wanted[pusher]
		}
	}
	return nil
}
