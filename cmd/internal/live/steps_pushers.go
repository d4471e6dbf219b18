package live

import (
	"context"
	"net/http"
	"strings"
)

// pushers are the steps about single pushers.
func (d *day) pushers() map[string]step {
	return map[string]step{
		"event-id-only": after(func(ctx context.Context) error {
			return d.add(ctx, "erin", "erin-id", object{"data": object{"url": d.ours.gateway.URL(), "format": "event_id_only"}})
		}, func(ctx context.Context) (string, error) {
			event, err := d.said("alice", "Direct", "an id")(ctx)
			if err == nil {
				d.arrived("erin-id", event, func(p *recorded) { d.notes["content"] = strings.TrimSpace(p.Type + " " + p.Sender + p.RoomName) })
			}
			return event, err
		}),
		"rejected": after(func(ctx context.Context) error {
			d.ours.reject("erin-gone")
			return d.add(ctx, "erin", "erin-gone", nil)
		}, func(ctx context.Context) (string, error) {
			event, err := d.said("alice", "Direct", "rejected by one")(ctx)
			if err != nil {
				return "", err
			}
			return event, d.gone(ctx, "erin", "erin-gone")
		}),
		"taken": silently(func(ctx context.Context) error {
			return chain(
				func() error {
					return d.users["frank"].setPusher(ctx, "org.example.app", "erin-id", d.ours.gateway.URL(), object{"append": false})
				},
				func() error { return d.pushkeysOf(ctx, "erin") },
				func() error { return d.pushkeysOf(ctx, "frank") })
		}),
		"email": silently(func(ctx context.Context) error {
			dave := d.users["dave"]
			email := object{"kind": "email", "app_id": "m.email"}
			return chain(
				func() error { return dave.setPusher(ctx, "m.email", "dave@example.org", "", email) },
				func() error { return d.pushkeysOf(ctx, "dave") },
				func() error {
					_, err := dave.ask(ctx, http.MethodPost, "v3/pushers/set", object{"kind": nil, "app_id": "m.email", "pushkey": "dave@example.org"})
					return err
				},
				func() error {
					before := d.notes["pushers of dave"]
					err := d.pushkeysOf(ctx, "dave")
					d.notes["pushers of dave"] = before + ", then " + d.notes["pushers of dave"]
					return err
				})
		}),
		"bad-gateway": silently(func(ctx context.Context) error {
			frank := d.users["frank"]
			d.status("private address", frank.setPusher(ctx, "org.example.app", "x", "http://10.0.0.1/_matrix/push/v1/notify", nil))
			d.status("another path", frank.setPusher(ctx, "org.example.app", "x", "http://127.0.0.1/notify", nil))
			return nil
		}),
	}
}
