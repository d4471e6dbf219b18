package live

import (
	"context"
	"net/http"
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
