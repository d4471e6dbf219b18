package live

import (
	"context"
	"net/http"
)

// membership are the steps about who is in a room.
func (d *day) membership() map[string]step {
	return map[string]step{
		"newcomer": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.member(ctx, "Group", "invite", "frank") },
				func() error { return d.join(ctx, "Group", "frank") })
		}, d.said("alice", "Group", "welcome")),
		"kick":          silently(func(ctx context.Context) error { return d.member(ctx, "Group", "kick", "frank") }),
		"kicked":        d.said("alice", "Group", "frank is out"),
		"banned":        after(func(ctx context.Context) error { return d.member(ctx, "Group", "ban", "frank") }, d.said("alice", "Group", "for good")),
		"leave":         after(func(ctx context.Context) error { return d.member(ctx, "Group", "leave", "dave") }, d.said("alice", "Group", "dave is gone")),
		"reinvite":      func(ctx context.Context) (string, error) { return d.invited(ctx, "dave") },
		"reject":        silently(func(ctx context.Context) error { return d.member(ctx, "Group", "leave", "dave") }),
		"invited-again": func(ctx context.Context) (string, error) { return d.invited(ctx, "dave") },
		"withdraw":      silently(func(ctx context.Context) error { return d.member(ctx, "Group", "kick", "dave") }),
		"new-name": after(func(ctx context.Context) error {
			alice := d.users["alice"]
			_, err := alice.ask(ctx, http.MethodPut, "v3/profile/"+escape(alice.id)+"/displayname", object{"displayname": "Alice L."})
			return err
		}, func(ctx context.Context) (string, error) {
			event, err := d.said("alice", "Group", "a new name")(ctx)
			if err == nil {
				d.arrived("bob", event, func(p *recorded) { d.notes["name"] = p.SenderDisplayName + " in " + p.RoomName })
			}
			return event, err
		}),
		"upgrade": after(func(ctx context.Context) error {
			return d.rule(ctx, "room/"+escape(d.rooms["Group"]), object{"actions": []any{}})
		}, func(ctx context.Context) (string, error) {
			alice := d.users["alice"]
			answer, err := alice.ask(ctx, http.MethodPost, "v3/rooms/"+escape(d.rooms["Group"])+"/upgrade", object{"new_version": "11"})
			if err != nil {
				return "", err
			}
			d.rooms["New"] = answer.Get("replacement_room").Str
			return alice.stateOf(ctx, d.rooms["Group"], "m.room.tombstone", "")
		}),
		"muted-upgrade": after(func(ctx context.Context) error {
			for _, name := range []string{"bob", "carol"} {
				if err := d.member(ctx, "New", "invite", name); err != nil && statusOf(err) != http.StatusForbidden { // it was invited by the upgrade
					return err
				}
			}
			return d.join(ctx, "New", "bob", "carol")
		}, d.said("alice", "New", "still muted")),
	}
}

// invited invites a user to the group, and returns the invite.
func (d *day) invited(ctx context.Context, who string) (string, error) {
	if err := d.member(ctx, "Group", "invite", who); err != nil {
		return "", err
	}
	return d.users["alice"].stateOf(ctx, d.rooms["Group"], "m.room.member", userID(who))
}
