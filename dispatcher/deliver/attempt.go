package deliver

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/dispatcher/spans"
	"poked/events"
	"poked/events/pushgateway"
	"poked/events/stream"
	"poked/events/webpush"
)

// sender is what a slot keeps from one attempt to the next.
type sender struct {
	body   []byte
	sealed []byte // a browser's body
}

// settleTimeout bounds the wait until what must be stored before a poke is done is stored:
// a dead letter, a rejection.
const settleTimeout = 5 * time.Second

// attempt makes the lane's next poke, if there is one.
func (l *lane) attempt(s *sender) {
	d := l.d
	p, ok := l.next()
	if !ok {
		return
	}
	defer d.endAttempt()
	began := time.Now()
	out := d.lookPast(s, l, &p, d.try(s, l, &p, began))
	now := time.Now()
	if p.pusher.Web != nil {
		out = d.judgeVAPID(&p, out, now)
	}
	d.logAttempt(&p, out, now.Sub(began))
	d.Gates.report(l, &p, out, began, now)
	if d.Gates.retires(p.pusher, out, now) {
		if out.Asked() {
			d.Counts.outcome(out, p.badge, 0)
		}
		out = poke.Outcome{Kind: poke.Retired, Class: poke.ClassGone}
		d.logAttempt(&p, out, 0)
	}
	if again := l.settle(&p, out, now); again {
		l.resubmit(out)
	}
}

// endAttempt counts an attempt as no longer in flight.
func (d *Deliverer) endAttempt() {
	d.mu.Lock()
	d.out--
	d.mu.Unlock()
}

// try sends a poke, unless it expired, its user is not to be told of it, or its gateway gets no
// requests now.
func (d *Deliverer) try(s *sender, l *lane, p *outgoing, now time.Time) poke.Outcome {
	if p.skip {
		return poke.Outcome{Kind: poke.Skipped, Class: poke.ClassSkipped}
	}
	if !p.badge && len(p.past) == 0 {
		if why := d.withholds(p.pusher, &p.n, p.room, now); why != poke.ClassOK {
			return poke.Outcome{Kind: poke.Withheld, Class: why}
		}
	}
	if p.age(now) > d.timeToLive(p.pusher, &p.n) && len(p.past) == 0 {
		return poke.Outcome{Kind: poke.Expired, Class: poke.ClassExpired}
	}
	if p.pusher.Refused != nil {
		return poke.Outcome{Kind: poke.Slow, Class: poke.ClassRefusedURL}
	}
	if why := d.Gates.allows(l, p, now); why != poke.ClassOK {
		return poke.Outcome{Kind: poke.Paused, Class: why}
	}
	return d.shorten(s, p)
}

// withholds returns why a pusher's user is not to be told of a notification now, or ClassOK.
func (d *Deliverer) withholds(p *directory.Pusher, n *events.Notification, room events.RoomID, now time.Time) poke.Class {
	highlight := n.Highlight
	if own, ok := n.Of(p.Handle); ok {
		highlight = own.Highlight
	}
	switch {
	case n.IsOver(now):
		return poke.ClassRingOver
	case d.Directory.DoNotDisturb(p.User, room, highlight):
		return poke.ClassQuiet
	}
	return poke.ClassOK
}

// shorten sends a poke, and again with less in it for as long as the gateway answers that it is too
// large. After the second time at most half as much is sent, so there are few.
func (d *Deliverer) shorten(s *sender, p *outgoing) poke.Outcome {
	for {
		out, idsOnly := d.post(s, p)
		if out.Status != http.StatusRequestEntityTooLarge || p.badge || idsOnly || !d.Gates.lease.Held() {
			return out
		}
		d.logAttempt(p, out, 0)
		d.Counts.outcome(out, false, 0)
		p.tooLarge, p.limit = p.size, shorter(p.size)
	}
}

// post sends a poke, with as much in it as its limit allows. idsOnly reports that that is nothing but
// its ids.
func (d *Deliverer) post(s *sender, p *outgoing) (out poke.Outcome, idsOnly bool) {
	if p.pusher.Web != nil {
		p.limit = min(p.limit, webpush.MaxBody)
	}
	s.body, idsOnly = p.appendShort(s.body[:0], d.Badge)
	p.size = p.sizeOf(s.body)
	span := d.spanOf(p)
	if now := time.Now(); p.pusher.Web != nil {
		out = d.push(s, p, now)
	} else {
		d.Client.Post(p.pusher.URL.String(), s.body, string(span.TraceParent(p.n.Trace)), func(a poke.Answer) {
			out = poke.Decide(a, p.pusher.Pushkey, time.Now())
		})
	}
	span.Answered(out.Kind.String(), out.Class.String(), out.Status, out.Works())
	return out, idsOnly
}

// spanOf begins the span of a request that is about an event.
func (d *Deliverer) spanOf(p *outgoing) spans.Span {
	if d.Spans == nil || p.badge || p.uncounted && !p.ahead {
		return spans.Span{}
	}
	return d.Spans.Attempt(&spans.Poke{
		Parent: p.n.Trace, Stored: p.n.At, Attempt: p.attempt, UserID: p.pusher.User, RoomID: p.room, EventID: p.n.EventID,
		AppID: p.pusher.AppID, Pusher: p.pusher.ID, Gateway: p.pusher.Origin(),
	}, time.Now())
}

// content returns what a poke has in it.
func (p *outgoing) content(of BadgeOf) (notification []byte, unread int, device pushgateway.Device) {
	unread = int(p.unread) //nolint:gosec // a count of messages
	if p.uncounted || p.pusher.NoBadge || of == BadgeNone {
		unread = pushgateway.NoCounts
	}
	body, tweaks := p.n.Body, p.n.Tweaks
	if p.badge {
		body = p.cleared.body()
	}
	if own, ok := p.n.Of(p.pusher.Handle); ok {
		body, tweaks = pushgateway.WithPrio(body, own.Prio), own.Tweaks
	}
	device = pushgateway.Device{
		AppID: p.pusher.AppID, Pushkey: p.pusher.Pushkey, PushkeyTS: p.pusher.PushkeyTS,
		Data: p.pusher.Data, Tweaks: tweaks,
	}
	if p.pusher.NamesUser {
		device.User = string(p.pusher.User)
	}
	if p.pusher.Avatar {
		device.RoomAvatar = p.n.RoomAvatar
	}
	return body, unread, device
}

// conclude stores what must be stored before a poke is done.
func (d *Deliverer) conclude(l *lane, p *outgoing, out poke.Outcome, now time.Time) poke.Outcome {
	var err error
	switch out.Kind {
	case poke.Expired:
		err = d.storeDead(p, events.DeadExpired, p.attempt-1, l.failure())
	case poke.Skipped:
		if !p.badge {
			err = d.storeDead(p, events.DeadSkipped, p.attempt-1, l.failure())
		}
	case poke.Delivered:
		err = d.buryPast(p)
	case poke.Refused:
		if !p.badge {
			err = d.storeDead(p, events.DeadRefused, p.attempt, out.Failure())
		}
	case poke.Rejected:
		err = d.reject(p, events.RejectedPushkey, now)
	case poke.Retired:
		err = d.reject(p, events.RejectedGone, now)
	default:
	}
	if err != nil {
		return poke.Outcome{Kind: poke.Retry, Class: poke.ClassNATS}
	}
	return out
}

// storeDead stores a poke as a dead letter, after some attempts of which the last had a
// failure.
func (d *Deliverer) storeDead(p *outgoing, reason events.DeadReason, attempts int, last poke.Failure) error {
	detail := ""
	if reason == events.DeadExpired {
		detail = "older than " + d.timeToLive(p.pusher, &p.n).String()
	}
	err := d.stored(p, func(done func(error)) {
		d.Conn.PublishDead(events.DeadLetter{
			Reason: reason, Detail: detail, At: time.Now(), UserID: p.pusher.User, RoomID: p.room, EventID: p.n.EventID,
			AppID: p.pusher.AppID, Pushkey: p.pusher.Pushkey, Attempts: attempts, LastError: last.String(),
			Message: p.n.AppendJSON(nil),
		}, done)
	})
	if err == nil {
		d.Log.Info("poke became a dead letter", "reason", reason, "user_id", p.pusher.User, "room_id", p.room,
			"event_id", p.n.EventID, "pusher", p.pusher.ID, "last_error", last.String())
	}
	return err
}

// reject reports to the registry that the pusher is to be removed: the gateway rejects the pushkey,
// or for another reason.
func (d *Deliverer) reject(p *outgoing, reason events.RejectionReason, now time.Time) error {
	return d.stored(p, func(done func(error)) {
		d.Conn.PublishRejection(events.Rejection{
			UserID: p.pusher.User, AppID: p.pusher.AppID, Pushkey: p.pusher.Pushkey,
			PushkeyTS: p.pusher.PushkeyTS, RejectedAt: now.UnixMilli(), Gateway: p.pusher.Origin(), Reason: reason,
		}, done)
	})
}

// stored publishes something and waits until it is stored.
func (d *Deliverer) stored(p *outgoing, publish func(done func(error))) error {
	answer := make(chan error, 1)
	publish(func(err error) { answer <- err })
	timeout := time.NewTimer(settleTimeout)
	defer timeout.Stop()
	err := stream.ErrUnknownOutcome
	select {
	case err = <-answer:
	case <-timeout.C:
	}
	if err != nil {
		d.Log.Warn("outcome not stored, trying the poke again", "user_id", p.pusher.User, "pusher", p.pusher.ID, "error", err)
	}
	return err
}

// logAttempt records a try for operators, and logs it, at debug level if it was delivered or
// not sent, which is usual.
func (d *Deliverer) logAttempt(p *outgoing, out poke.Outcome, took time.Duration) {
	d.attempts.note(p, out, took)
	level := slog.LevelInfo
	if out.Kind == poke.Delivered || out.Kind == poke.Paused || out.Kind == poke.Withheld {
		level = slog.LevelDebug
	}
	if !d.Log.Enabled(context.Background(), level) {
		return
	}
	d.Log.LogAttrs(context.Background(), level, "poke",
		slog.String("outcome", out.Kind.String()),
		slog.String("class", out.Class.String()),
		slog.Int("http_status", out.Status),
		slog.Int("attempt", p.attempt),
		slog.String("user_id", string(p.pusher.User)),
		slog.String("room_id", string(p.room)),
		slog.String("event_id", string(p.n.EventID)),
		slog.String("app_id", p.pusher.AppID),
		slog.String("pusher", string(p.pusher.ID)),
		slog.String("gateway", p.pusher.Origin()),
		slog.Bool("badge_only", p.badge),
		slog.Uint64("seq", p.seq),
		slog.Duration("took", took),
		slog.Duration("retry_after", out.RetryAfter),
		slog.Duration("age", p.age(time.Now())),
	)
}
