package live

import (
	"context"
)

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
