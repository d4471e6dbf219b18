package live

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// pushkeysOf notes which pushers a user has.
func (d *day) pushkeysOf(ctx context.Context, who string) error {
	answer, err := d.users[who].ask(ctx, http.MethodGet, "v3/pushers", nil)
	var keys []string
	for _, p := range answer.Get("pushers").Array() {
		if p.Get("app_id").Str != "org.example.shadow" {
			keys = append(keys, p.Get("pushkey").Str)
		}
	}
	slices.Sort(keys)
	d.notes["pushers of "+who] = strings.Join(keys, ", ")
	return err
}

// gone waits until a user has no pusher with a pushkey, and notes which there are.
func (d *day) gone(ctx context.Context, who, pushkey string) error {
	ctx, cancel := context.WithTimeout(ctx, stepPatience)
	defer cancel()
	for {
		if err := d.pushkeysOf(ctx, who); err != nil || !strings.Contains(d.notes["pushers of "+who], pushkey) {
			return err
		}
		<-time.After(settle)
	}
}

// arrived waits for the poke of a pushkey about an event, and calls look with it.
func (d *day) arrived(pushkey, event string, look func(p *recorded)) {
	deadline := time.After(stepPatience)
	for {
		next := d.ours.next()
		if p := d.ours.last(pushkey, event); p.EventID != "" {
			look(&p)
			return
		}
		select {
		case <-next:
		case <-deadline:
			return
		}
	}
}

// status notes how a request was answered.
func (d *day) status(name string, err error) { d.notes[name] = fmt.Sprint(statusOf(err)) }

// add logs a user in with one more device, and sets a pusher there.
func (d *day) add(ctx context.Context, who, pushkey string, more object) error {
	u, err := login(ctx, d.proxy, who, pushkey)
	if err != nil {
		return err
	}
	d.users[pushkey] = u
	return u.setPusher(ctx, "org.example.app", pushkey, d.ours.gateway.URL(), more)
}

// withPassword sends a request that wants the password.
func withPassword(ctx context.Context, u *user, method, path string, body object) error {
	answer, err := u.ask(ctx, method, path, body)
	if statusOf(err) != http.StatusUnauthorized {
		return fmt.Errorf("without a password: %w", err)
	}
	body["auth"] = object{
		"type": "m.login.password", "session": answer.Get("session").Str, "password": u.password,
		"identifier": object{"type": "m.id.user", "user": u.name}, "user": u.id,
	}
	_, err = u.ask(ctx, method, path, body)
	return err
}

// devices are the steps about what ends devices.
func (d *day) devices() map[string]step {
	hello := d.said("alice", "Eleven", "hello")
	return map[string]step{
		"four-devices": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.add(ctx, "bob", "bob2", nil) },
				func() error { return d.add(ctx, "bob", "bob3", nil) },
				func() error { return d.add(ctx, "bob", "bob4", nil) })
		}, hello),
		"disabled": after(func(ctx context.Context) error {
			return d.users["bob4"].setPusher(ctx, "org.example.app", "bob4", d.ours.gateway.URL(), object{"enabled": false})
		}, hello),
		"logout": after(func(ctx context.Context) error {
			_, err := d.users["bob3"].ask(ctx, http.MethodPost, "v3/logout", object{})
			return err
		}, hello),
		"revoked": silently(func(ctx context.Context) error {
			d.status("set", d.users["bob3"].setPusher(ctx, "org.example.app", "bob3", d.ours.gateway.URL(), nil))
			return nil
		}),
		"delete-device": after(func(ctx context.Context) error {
			return withPassword(ctx, d.users["bob"], http.MethodDelete, "v3/devices/bob2", object{})
		}, hello),
		"wrong-password": silently(func(ctx context.Context) error {
			bob := *d.users["bob"]
			bob.password = "a guess"
			if err := withPassword(ctx, &bob, http.MethodPost, "v3/account/password", object{"new_password": "another"}); err == nil {
				return fmt.Errorf("the homeserver took a wrong password")
			}
			return d.pushkeysOf(ctx, "bob")
		}),
		"new-password": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.add(ctx, "bob", "bob5", nil) },
				func() error {
					return withPassword(ctx, d.users["bob"], http.MethodPost, "v3/account/password", object{"new_password": password})
				},
				func() error { return d.pushkeysOf(ctx, "bob") })
		}, hello),
		"logout-all": after(func(ctx context.Context) error {
			_, err := d.users["carol"].ask(ctx, http.MethodPost, "v3/logout/all", object{})
			return err
		}, d.said("alice", "New", "carol is away")),
		"deactivate": after(func(ctx context.Context) error {
			return withPassword(ctx, d.users["erin"], http.MethodPost, "v3/account/deactivate", object{})
		}, d.said("alice", "Direct", "to nobody")),
	}
}
