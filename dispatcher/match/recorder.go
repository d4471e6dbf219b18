package match

import (
	"cmp"
	"slices"

	"poked/dispatcher/directory"
	"poked/events"
	"poked/events/partition"
	"poked/events/pushgateway"
	"poked/events/pushrule"
)

const (
	// chunkUsers and chunkBytes bound one message of NOTIFICATIONS: how many users it has,
	// and how many bytes there are about them. A reader of one user's notification reads
	// the whole message.
	chunkUsers = 256
	chunkBytes = 16 << 10
	// decisionsCompared is how many decisions of a message are compared with the next one:
	// mostly all users have one of very few.
	decisionsCompared = 8
)

// recorder encodes notifications, for one event after another: one message for each
// partition of users, with what they share once.
type recorder struct {
	rings               bool   // calls ring, and are over some time
	tail, body, message []byte // buffers
	byPart              []inPart
	chunk               events.LogNotification
	made                []made
}

// inPart is a user whom an event notifies, by index, and the user's partition.
type inPart struct{ part, user int }

// made is what a decision of the chunk was made from; its outcome is nil if it holds
// something of one user alone.
type made struct {
	outcome *pushrule.Outcome
	title   string
	target  bool
}

// draft is what the notifications of one event have in common.
type draft struct {
	rec   *recorder
	ev    *events.RoomEvent
	room  *room
	named bool // the room has a name of its own, the same for everybody
	body  pushgateway.Notification
	// since is set if the event may have been stored before: it returns after which sequence
	// of NOTIFICATIONS, for a partition.
	since func(part int) uint64

	// See to.
	notified []decision
	left     []inPart // the users who are in no message yet
	dir      *directory.Directory
}

func (rec *recorder) draft(msg partition.Message, ev *events.RoomEvent, r *room, thread events.EventID) draft {
	d := draft{rec: rec, ev: ev, room: r}
	d.body = pushgateway.Notification{
		EventID: string(ev.EventID), RoomID: string(ev.RoomID), Type: ev.Type, Sender: string(ev.Sender),
		SenderDisplayName: r.displayName(ev.Sender), RoomName: r.title(), RoomAlias: r.alias, Content: ev.Content,
	}
	avatar := r.avatar
	if p := r.previewOf(ev); p != nil {
		p.describe(&d.body)
		avatar = cmp.Or(p.avatar, avatar)
	}
	if ev.IsState && ev.Type == "m.room.member" {
		d.body.Membership = textOf(ev.Content, "membership")
	}
	d.named = d.body.RoomName != ""
	rec.tail = d.body.AppendTail(rec.tail[:0])
	rec.body = append(append(rec.body[:0], '{'), rec.tail[1:]...) // instead of the comma before the first field
	decisions, users := rec.chunk.Decisions, rec.chunk.Users
	rec.chunk = events.LogNotification{
		About: events.About{
			EventID: ev.EventID, RoomSeq: msg.Seq, At: msg.Time, SentAt: ev.OriginServerTS, Thread: thread, Trace: msg.TraceParent, RoomAvatar: avatar,
		},
		RoomID: ev.RoomID, Body: rec.body, Decisions: decisions, Users: users,
	}
	if until := ev.RingsUntil(msg.Time); rec.rings && !until.IsZero() {
		rec.chunk.RingsUntil = until.UnixMilli()
	}
	return d
}

// to sets whom the event notifies. Then next makes the messages.
func (d *draft) to(notified []decision, partitions int, dir *directory.Directory) {
	d.rec.group(notified, partitions)
	d.notified, d.left, d.dir = notified, d.rec.byPart, dir
}

// next makes the next message, of the next users of one partition, and reports whether there is
// one. It is valid until the next call.
func (d *draft) next() (part int, message []byte, more bool) {
	if len(d.left) == 0 {
		return 0, nil, false
	}
	rec, size := d.rec, 0
	rec.begin()
	part = d.left[0].part
	for len(d.left) > 0 && d.left[0].part == part && len(rec.chunk.Users) < chunkUsers && size < chunkBytes {
		to := &d.notified[d.left[0].user]
		size += d.add(to, d.dir.Revision(to.member.id))
		d.left = d.left[1:]
	}
	if d.since != nil {
		rec.chunk.Again, rec.chunk.Since = true, d.since(part)
	}
	rec.message = rec.chunk.AppendJSON(rec.message[:0])
	return part, rec.message, true
}

// group orders users by partition.
func (rec *recorder) group(notified []decision, partitions int) {
	rec.byPart = rec.byPart[:0]
	for i := range notified {
		part := events.PartitionOfID(notified[i].member.id, partitions)
		rec.byPart = append(rec.byPart, inPart{part: part, user: i})
	}
	slices.SortFunc(rec.byPart, func(a, b inPart) int { return cmp.Or(cmp.Compare(a.part, b.part), cmp.Compare(a.user, b.user)) })
}

// begin begins another message.
func (rec *recorder) begin() {
	clear(rec.made) // lets outcomes be collected
	rec.made = rec.made[:0]
	rec.chunk.Decisions, rec.chunk.Users = rec.chunk.Decisions[:0], rec.chunk.Users[:0]
}

// add adds a user to the message, and returns roughly how many bytes that takes.
func (d *draft) add(to *decision, revision uint64) (size int) {
	rec := d.rec
	index, size := d.decisionOf(to)
	rec.chunk.Users = append(rec.chunk.Users, events.LogUser{UserID: to.member.id, Decision: index, PushersRevision: revision})
	return size + len(to.member.id) + len(`{"user_id":"","decision":10,"pushers_revision":1000000},`)
}

// decisionOf returns the index of a user's decision in the message, and how many bytes it
// has if it is new.
func (d *draft) decisionOf(to *decision) (index, size int) {
	rec := d.rec
	key := made{outcome: to.first(), target: d.ev.IsState && d.ev.StateKey == string(to.member.id)}
	if !d.named {
		key.title = d.room.titleFor(to.member.id)
	}
	if to.devices == nil {
		for i := len(rec.made) - 1; i >= max(len(rec.made)-decisionsCompared, 0); i-- {
			if rec.made[i] == key {
				return i, 0
			}
		}
	}
	made := events.Decision{
		RuleID: key.outcome.RuleID, Highlight: key.outcome.Highlight, Tweaks: key.outcome.Tweaks(),
		Silent: !to.outcome.Notifies(), Devices: d.devices(to), Prio: priority(d.ev, key.outcome).String(), RoomName: key.title,
	}
	if d.body.Membership != "" {
		made.Target = new(key.target)
	}
	size = len(made.Tweaks) + len(made.RoomName) + 100
	for _, device := range made.Devices {
		size += len(device.Tweaks) + 100
	}
	if to.devices != nil {
		key.outcome = nil
	}
	rec.made = append(rec.made, key)
	rec.chunk.Decisions = append(rec.chunk.Decisions, made)
	return len(rec.made) - 1, size
}

// devices returns the outcomes that are stored for devices with rules of their own.
func (d *draft) devices(to *decision) map[string]events.DeviceOutcome {
	if to.devices == nil {
		return nil
	}
	stored := make(map[string]events.DeviceOutcome, len(to.devices))
	for handle, o := range to.devices {
		stored[handle] = events.DeviceOutcome{
			Notify: o.Notify, Highlight: o.Highlight, Tweaks: o.Tweaks(), Prio: priority(d.ev, o).String(),
		}
	}
	return stored
}

// priority returns high for what the user should see or hear at once, and for encrypted
// events, which only the device can judge.
func priority(ev *events.RoomEvent, o *pushrule.Outcome) pushgateway.Priority {
	if ev.Type == "m.room.encrypted" || o.Highlight || o.Sound != "" {
		return pushgateway.High
	}
	return pushgateway.Low
}
