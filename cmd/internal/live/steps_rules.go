package live

import (
	"context"
	"net/http"
)

// rule sets a push rule of bob, or another part of one.
func (d *day) rule(ctx context.Context, path string, body object) error {
	_, err := d.users["bob"].ask(ctx, http.MethodPut, "v3/pushrules/global/"+path, body)
	return err
}

func (d *day) withoutRule(ctx context.Context, path string) error {
	_, err := d.users["bob"].ask(ctx, http.MethodDelete, "v3/pushrules/global/"+path, nil)
	return err
}

// rules are the steps about bob's push rules.
func (d *day) rules() map[string]step {
	set := func(path string, body func() object) func(context.Context) error {
		return func(ctx context.Context) error { return d.rule(ctx, path, body()) }
	}
	hello := d.says("alice", "Group", "m.room.message", fixed(mentioning("hello", toUsers("bob"))))
	loud := []any{"notify", object{"set_tweak": "sound", "value": "default"}, object{"set_tweak": "highlight"}}
	group := func() string { return "room/" + escape(d.rooms["Group"]) }
	ignore := func(ctx context.Context, users object) error {
		bob := d.users["bob"]
		_, err := bob.ask(ctx, http.MethodPut, "v3/user/"+escape(bob.id)+"/account_data/m.ignored_user_list", object{"ignored_users": users})
		return err
	}
	return map[string]step{
		"keyword":     after(set("content/food", fixed(object{"pattern": "rhubarb", "actions": loud})), d.said("alice", "Group", "Rhubarb pie")),
		"keyword-off": after(set("content/food/enabled", fixed(object{"enabled": false})), d.said("alice", "Group", "Rhubarb pie")),
		"muted-room": after(func(ctx context.Context) error {
			return d.rule(ctx, "override/mute", object{"actions": []any{}, "conditions": []any{
				object{"kind": "event_match", "key": "room_id", "pattern": d.rooms["Group"]},
			}})
		}, hello),
		"mentions-only": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.withoutRule(ctx, "override/mute") },
				func() error { return d.rule(ctx, group(), object{"actions": []any{}}) })
		}, d.said("alice", "Group", "for the others")),
		"mentions-only-mention": hello,
		"muted-sender": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.withoutRule(ctx, group()) },
				func() error { return d.rule(ctx, "sender/"+escape(userID("carol")), object{"actions": []any{}}) })
		}, d.said("carol", "Group", "for the others")),
		"master": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.withoutRule(ctx, "sender/"+escape(userID("carol"))) },
				func() error { return d.rule(ctx, "override/.m.rule.master/enabled", object{"enabled": true}) })
		}, hello),
		"actions": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.rule(ctx, "override/.m.rule.master/enabled", object{"enabled": false}) },
				func() error {
					return d.rule(ctx, "underride/.m.rule.message/actions", object{"actions": []any{"notify", object{"set_tweak": "sound", "value": "soft"}}})
				})
		}, d.said("alice", "Group", "with a sound")),
		"ignored": after(func(ctx context.Context) error {
			return chain(
				func() error {
					return d.rule(ctx, "underride/.m.rule.message/actions", object{"actions": []any{"notify"}})
				},
				func() error { return ignore(ctx, object{userID("carol"): object{}}) })
		}, d.said("carol", "Group", "for the others")),
		"not-ignored": after(func(ctx context.Context) error { return ignore(ctx, object{}) }, d.said("carol", "Group", "for everybody again")),
	}
}
