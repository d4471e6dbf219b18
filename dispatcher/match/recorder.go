package match

import (
	"poked/events"
	"poked/events/partition"
	"poked/events/pushgateway"
	"poked/events/pushrule"
)

// recorder encodes notifications, for one event after another. What the users of an event
// share is encoded once; most users share all of it.
type recorder struct {
	record, body, tail, tweaks []byte // buffers
	revised                    []byte // record with a revision of PUSHERS
}

// withRevision returns a record with the revision of its user's pushers. It is valid until
// the next call.
func (rec *recorder) withRevision(record []byte, revision uint64) []byte {
	rec.revised = events.AppendWithRevision(rec.revised[:0], record, revision)
	return rec.revised
}

// draft is what the notifications of one event have in common, and the record that was
// encoded last.
type draft struct {
	rec   *recorder
	ev    *events.RoomEvent
	room  *room
	named bool // the room has a name of its own, the same for everybody
	n     events.Notification
	body  pushgateway.Notification

	// made is the outcome and room name for which rec.record was encoded; its outcome is nil
	// if the record holds something of one user alone.
	made struct {
		outcome *pushrule.Outcome
		title   string
	}
}

func (rec *recorder) draft(msg partition.Message, ev *events.RoomEvent, r *room, thread events.EventID) *draft {
	d := &draft{rec: rec, ev: ev, room: r, n: events.Notification{
		EventID: ev.EventID, RoomSeq: msg.Seq, At: msg.Time, SentAt: ev.OriginServerTS, Thread: thread,
	}}
	d.body = pushgateway.Notification{
		EventID: string(ev.EventID), RoomID: string(ev.RoomID), Type: ev.Type, Sender: string(ev.Sender),
		SenderDisplayName: r.displayName(ev.Sender), RoomName: r.title(), RoomAlias: r.alias, Content: ev.Content,
	}
	if p := previewOf(ev); p != nil {
		p.describe(&d.body)
	}
	if ev.IsState && ev.Type == "m.room.member" {
		d.body.Membership = textOf(ev.Content, "membership")
	}
	d.named = d.body.RoomName != ""
	rec.tail = d.body.AppendTail(rec.tail[:0])
	return d
}

// of returns the notification of one user as it is stored. It is valid until the next
// call.
func (d *draft) of(to *decision) []byte {
	title := d.body.RoomName
	if !d.named {
		title = d.room.titleFor(to.member.id)
	}
	outcome := to.first()
	general := d.body.Membership == "" && to.devices == nil
	if general && d.made.outcome == outcome && d.made.title == title {
		return d.rec.record
	}
	if title != d.body.RoomName {
		d.body.RoomName = title
		d.rec.tail = d.body.AppendTail(d.rec.tail[:0])
	}
	d.write(to, outcome)
	if d.made.outcome, d.made.title = outcome, title; !general {
		d.made.outcome = nil
	}
	return d.rec.record
}

func (d *draft) write(to *decision, outcome *pushrule.Outcome) {
	rec := d.rec
	d.body.Prio = priority(d.ev, outcome)
	d.body.UserIsTarget = d.ev.IsState && d.ev.StateKey == string(to.member.id)
	rec.body = append(d.body.AppendHead(rec.body[:0]), rec.tail...)
	rec.tweaks = outcome.AppendTweaks(rec.tweaks[:0])
	d.n.RuleID, d.n.Highlight, d.n.Tweaks, d.n.Body = outcome.RuleID, outcome.Highlight, rec.tweaks, rec.body
	d.n.Silent, d.n.Devices = !to.outcome.Notifies(), d.devices(to)
	rec.record = d.n.AppendJSON(rec.record[:0])
}

// devices returns the outcomes that are stored for devices with rules of their own.
func (d *draft) devices(to *decision) map[string]events.DeviceOutcome {
	if to.devices == nil {
		return nil
	}
	stored := make(map[string]events.DeviceOutcome, len(to.devices))
	for handle, o := range to.devices {
		stored[handle] = events.DeviceOutcome{
			Notify: o.Notify, Highlight: o.Highlight, Tweaks: o.AppendTweaks(nil), Prio: priority(d.ev, o).String(),
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
