package live

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// step does something and returns the event whose pokes count, "" if there is none.
type step func(ctx context.Context) (event string, err error)

// steps returns all steps by their id in the table. Their order is the table's.
func (d *day) steps() map[string]step {
	all := map[string]step{}
	for _, part := range []map[string]step{d.messages(), d.rules(), d.reading(), d.membership(), d.devices(), d.pushers()} {
		for id, step := range part {
			all[id] = step
		}
	}
	return all
}

// chain runs requests until one fails.
func chain(requests ...func() error) error {
	for _, request := range requests {
		if err := request(); err != nil {
			return err
		}
	}
	return nil
}

// create creates a room by alice and invites users.
func (d *day) create(ctx context.Context, name string, more object, invited ...string) error {
	body := object{"preset": "private_chat", "name": name}
	for key, value := range more {
		body[key] = value
	}
	ids := []string{}
	for _, who := range invited {
		ids = append(ids, userID(who))
	}
	body["invite"] = ids
	answer, err := d.users["alice"].ask(ctx, http.MethodPost, "v3/createRoom", body)
	d.rooms[name] = answer.Get("room_id").Str
	return err
}

func (d *day) join(ctx context.Context, room string, who ...string) error {
	for _, name := range who {
		if _, err := d.users[name].ask(ctx, http.MethodPost, "v3/rooms/"+escape(d.rooms[room])+"/join", object{}); err != nil {
			return err
		}
	}
	return nil
}

// member changes the membership of a user: an action of alice, or of the user if it is leave.
func (d *day) member(ctx context.Context, room, action, who string) error {
	by, body := d.users["alice"], object{"user_id": userID(who)}
	if action == "leave" {
		by, body = d.users[who], object{}
	}
	_, err := by.ask(ctx, http.MethodPost, "v3/rooms/"+escape(d.rooms[room])+"/"+action, body)
	return err
}

func text(body string) object { return object{"msgtype": "m.text", "body": body} }

// mentioning is a message with m.mentions.
func mentioning(body string, mentions object) object {
	content := text(body)
	content["m.mentions"] = mentions
	return content
}

func toUsers(names ...string) object {
	ids := []string{}
	for _, name := range names {
		ids = append(ids, userID(name))
	}
	return object{"user_ids": ids}
}

// says returns a step in which a user sends an event to a room.
func (d *day) says(who, room, kind string, content func() object) step {
	return func(ctx context.Context) (string, error) {
		return d.users[who].say(ctx, d.rooms[room], kind, content())
	}
}

// said returns a step in which a user sends a text message.
func (d *day) said(who, room, body string) step {
	return d.says(who, room, "m.room.message", func() object { return text(body) })
}

// fixed is content that depends on nothing.
func fixed(content object) func() object { return func() object { return content } }

// remembered runs a step and remembers its event.
func (d *day) remembered(name string, do step) step {
	return func(ctx context.Context) (string, error) {
		event, err := do(ctx)
		d.ids[name] = event
		return event, err
	}
}

// after runs a step after a request.
func after(request func(ctx context.Context) error, do step) step {
	return func(ctx context.Context) (string, error) {
		if err := request(ctx); err != nil {
			return "", err
		}
		return do(ctx)
	}
}

// silently is a step without an event.
func silently(request func(ctx context.Context) error) step {
	return func(ctx context.Context) (string, error) { return "", request(ctx) }
}

// messages are the steps about what is said.
func (d *day) messages() map[string]step {
	const message = "m.room.message"
	relation := func(kind string, content object) func() object { // to the first message
		return func() object {
			relates := object{"rel_type": kind, "event_id": d.ids["first"]}
			if kind == "m.annotation" {
				relates["key"] = "👍"
			}
			content["m.relates_to"] = relates
			return content
		}
	}
	edit := text("* dinner at eight")
	edit["m.new_content"] = text("dinner at eight")
	return map[string]step{
		"invite": func(ctx context.Context) (string, error) {
			if err := d.create(ctx, "Group", nil, "bob", "carol", "dave"); err != nil {
				return "", err
			}
			return d.users["alice"].stateOf(ctx, d.rooms["Group"], "m.room.member", userID("bob"))
		},
		"join": func(ctx context.Context) (string, error) {
			if err := d.join(ctx, "Group", "bob", "carol", "dave"); err != nil {
				return "", err
			}
			return d.users["alice"].stateOf(ctx, d.rooms["Group"], "m.room.member", userID("bob"))
		},
		"message":  d.remembered("first", d.said("alice", "Group", "dinner at seven")),
		"notice":   d.says("alice", "Group", message, fixed(object{"msgtype": "m.notice", "body": "I am a bot"})),
		"reaction": d.says("alice", "Group", "m.reaction", relation("m.annotation", object{})),
		"edit":     d.says("alice", "Group", message, relation("m.replace", edit)),
		"thread":   d.says("alice", "Group", message, relation("m.thread", text("in the thread"))),
		"topic": func(ctx context.Context) (string, error) {
			return d.users["alice"].set(ctx, d.rooms["Group"], "m.room.topic", "", object{"topic": "food"})
		},
		"mention":          d.says("alice", "Group", message, fixed(mentioning("hello", toUsers("bob")))),
		"mention-thread":   d.says("alice", "Group", message, relation("m.thread", mentioning("hello", toUsers("bob")))),
		"mention-edit":     d.says("alice", "Group", message, relation("m.replace", mentioning("* hello", toUsers("bob")))),
		"mention-room":     d.says("alice", "Group", message, fixed(mentioning("all", object{"room": true}))),
		"mention-no-power": d.says("bob", "Group", message, fixed(mentioning("all", object{"room": true}))),
		"name-in-body":     d.said("alice", "Group", "hello carol"),
		"mentions-empty":   d.says("alice", "Group", message, fixed(mentioning("hello carol", object{}))),
		"encrypted":        d.says("alice", "Group", "m.room.encrypted", fixed(encrypted())),
		"direct": after(func(ctx context.Context) error {
			return chain(
				func() error {
					return d.create(ctx, "Direct", object{"is_direct": true, "preset": "trusted_private_chat", "name": nil}, "erin")
				},
				func() error { return d.join(ctx, "Direct", "erin") })
		}, d.said("alice", "Direct", "just us")),
		"direct-encrypted": d.says("alice", "Direct", "m.room.encrypted", fixed(encrypted())),
		"call": d.says("alice", "Direct", "m.call.invite", fixed(object{
			"call_id": "c", "party_id": "p", "version": "1", "lifetime": 60000, "offer": object{"type": "offer", "sdp": "v=0"},
		})),
	}
}

func encrypted() object {
	return object{"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "s", "device_id": "d", "sender_key": "k"}
}

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

// reading are the steps about what bob reads, and what is redacted.
func (d *day) reading() map[string]step {
	bobReads := func(kind, event, thread string) step {
		return silently(func(ctx context.Context) error {
			return d.users["bob"].read(ctx, d.rooms["Group"], kind, d.ids[event], thread)
		})
	}
	twice := func(room string) step { // the second is remembered as last, the first as before
		return after(func(ctx context.Context) error {
			_, err := d.remembered("before", d.said("alice", room, "one"))(ctx)
			return err
		}, d.remembered("last", d.said("alice", room, "two")))
	}
	redact := func(room, event string) step {
		return silently(func(ctx context.Context) error {
			_, err := d.users["alice"].ask(ctx, http.MethodPut, "v3/rooms/"+escape(d.rooms[room])+"/redact/"+escape(d.ids[event])+"/"+txn(), object{"reason": "typo"})
			return err
		})
	}
	return map[string]step{
		"read-all": after(func(ctx context.Context) error {
			_, err := d.remembered("last", d.said("alice", "Group", "read this"))(ctx)
			return err
		}, bobReads("m.read", "last", "")),
		"unread":  twice("Group"),
		"receipt": bobReads("m.read", "last", ""),
		"unread-thread": after(func(ctx context.Context) error {
			_, err := d.remembered("root", d.said("alice", "Group", "a root"))(ctx)
			return err
		}, d.remembered("reply", d.says("alice", "Group", "m.room.message", func() object {
			content := text("a reply")
			content["m.relates_to"] = object{"rel_type": "m.thread", "event_id": d.ids["root"]}
			return content
		}))),
		"receipt-thread": silently(func(ctx context.Context) error {
			return d.users["bob"].read(ctx, d.rooms["Group"], "m.read", d.ids["reply"], d.ids["root"])
		}),
		"receipt-main":    bobReads("m.read", "root", "main"),
		"unread-private":  twice("Group"),
		"receipt-private": bobReads("m.read.private", "last", ""),
		"unread-markers":  twice("Group"),
		"read-markers": silently(func(ctx context.Context) error {
			_, err := d.users["bob"].ask(ctx, http.MethodPost, "v3/rooms/"+escape(d.rooms["Group"])+"/read_markers",
				object{"m.fully_read": d.ids["last"], "m.read": d.ids["before"]})
			return err
		}),
		"redaction": redact("Group", "last"),
		"unread-11": after(func(ctx context.Context) error {
			return chain(
				func() error { return d.create(ctx, "Eleven", object{"room_version": "11"}, "bob") },
				func() error { return d.join(ctx, "Eleven", "bob") })
		}, twice("Eleven")),
		"redaction-11": redact("Eleven", "last"),
		"own-message":  d.said("bob", "Eleven", "I have read it"),
	}
}

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
