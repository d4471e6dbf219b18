package live

import (
	"context"
	"net/http"
)

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
