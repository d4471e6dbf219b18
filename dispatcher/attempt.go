package dispatcher

import (
	"context"
	"log/slog"
	"time"

	"poked/events"
	"poked/events/pushgateway"
)

// sender is what a slot keeps from one attempt to the next.
type sender struct {
	body []byte
}

// settleTimeout bounds the wait for what has to be stored before a poke counts
// as done with: a dead letter, a refused pushkey.
const settleTimeout = 5 * time.Second

// attempt makes the lane's next poke, if there is one.
func (l *lane) attempt(s *sender) {
	d := l.d
	p, ok := l.next()
	if !ok {
		return
	}
	defer d.home()
	began := time.Now()
	out := d.try(s, l, &p, began)
	now := time.Now()
	d.logAttempt(&p, out, now.Sub(began))
	d.gates.report(l, p.known, out, began, now)
	if again := l.settle(&p, out, now); again {
		l.resubmit(out)
	}
}

// tell takes in what the pusher has been told.
func (l *lane) tell(p *poke) {
	if p.pusher == l.pusher {
		l.told.set(p.unread)
	}
	if g := l.lag; p.badge && g != nil && l.knowsBadge() {
		g.badge = false
	}
}

// age is how long ago the event of the poke was stored, if it has one.
func (p *poke) age(now time.Time) time.Duration {
	if p.badge {
		return 0
	}
	return now.Sub(p.n.At)
}

// home ends an attempt.
func (d *deliverer) home() {
	d.mu.Lock()
	d.out--
	d.mu.Unlock()
}

// try posts a poke, unless there is a reason not to.
func (d *deliverer) try(s *sender, l *lane, p *poke, now time.Time) (out outcome) {
	if p.age(now) > d.ttl {
		return outcome{kind: outcomeExpired, class: "expired"}
	}
	if p.pusher.refused != nil {
		return outcome{kind: outcomeSlow, class: "refused_url"}
	}
	if why := d.gates.allows(l, p.pusher.origin(), now); why != "" {
		return outcome{kind: outcomePaused, class: why}
	}
	s.body = p.appendBody(s.body[:0], d.badge)
	d.client.post(p.pusher.url.String(), s.body, func(a answer) {
		out = decide(a, p.pusher.pushkey, time.Now())
	})
	return out
}

// appendBody appends the request body (Push Gateway API, POST notify).
func (p *poke) appendBody(dst []byte, of BadgeOf) []byte {
	unread := int(p.unread) //nolint:gosec // a count of messages
	if p.pusher.noBadge || of == BadgeNone {
		unread = pushgateway.NoCounts
	}
	body, tweaks := p.n.Body, p.n.Tweaks
	if p.badge {
		body = []byte(badgeOnly)
	}
	if own, ok := p.n.Of(p.pusher.handle); ok {
		body, tweaks = pushgateway.WithPrio(body, own.Prio), own.Tweaks
	}
	device := pushgateway.Device{
		AppID: p.pusher.appID, Pushkey: p.pusher.pushkey, PushkeyTS: p.pusher.pushkeyTS,
		Data: p.pusher.data, Tweaks: tweaks,
	}
	if p.pusher.eventOnly {
		return pushgateway.AppendEventIDOnlyBody(dst, body, unread, &device)
	}
	return pushgateway.AppendBody(dst, body, unread, &device)
}

// conclude stores what has to be stored before a poke counts as done with.
func (d *deliverer) conclude(l *lane, p *poke, out outcome, now time.Time) outcome {
	var err error
	switch out.kind {
	case outcomeExpired:
		err = d.expire(p, l.lastError())
	case outcomeRejected:
		err = d.reject(p, now)
	default:
	}
	if err != nil {
		return outcome{kind: outcomeRetry, class: classNATS}
	}
	return out
}

// settle draws the consequences of a try.
func (l *lane) settle(p *poke, out outcome, now time.Time) (again bool) {
	d := l.d
	out = d.conclude(l, p, out, now)
	d.counts.outcome(out, p.badge, p.age(now))
	d.mu.Lock()
	defer d.mu.Unlock()
	l.history.note(out, now)
	if out.kind == outcomeDelivered {
		l.tell(p)
	}
	switch {
	case l.gone:
		l.scheduled = false
		return false
	case l.lag == nil && (len(l.queue) == 0 || l.queue[0].seq != p.seq): // read, or removed and set again, meanwhile
		l.scheduled = len(l.queue) > 0
		return l.scheduled
	}
	switch out.kind {
	case outcomeDelivered, outcomeExpired:
		return l.passed(p.seq, out.kind == outcomeDelivered, p.badge)
	case outcomeRejected:
		if l.pusher != p.pusher {
			return true // set again meanwhile, so this one is yet to be tried
		}
		l.refuse(p.pusher)
	default:
		l.failed(now, out)
		if l.pusher != p.pusher {
			l.schedule() // set again meanwhile: the cause may be mended
		}
	}
	return false
}

// expire keeps a poke that outlived its time to live as a dead letter.
func (d *deliverer) expire(p *poke, lastError string) error {
	return d.stored(p, func(done func(error)) {
		d.conn.PublishDead(events.DeadLetter{
			Reason: "expired", At: time.Now(), UserID: p.pusher.user, RoomID: p.room, EventID: p.n.EventID,
			AppID: p.pusher.appID, Pushkey: p.pusher.pushkey, Attempts: p.attempt - 1, LastError: lastError,
			Message: p.n.AppendJSON(nil),
		}, done)
	})
}

// reject tells the registry that the gateway refuses the pushkey.
func (d *deliverer) reject(p *poke, now time.Time) error {
	return d.stored(p, func(done func(error)) {
		d.conn.PublishRejection(events.Rejection{
			UserID: p.pusher.user, AppID: p.pusher.appID, Pushkey: p.pusher.pushkey,
			PushkeyTS: p.pusher.pushkeyTS, RejectedAt: now.UnixMilli(), Gateway: p.pusher.origin(),
		}, done)
	})
}

// stored waits until something is stored, which takes NATS a moment.
func (d *deliverer) stored(p *poke, publish func(done func(error))) error {
	answer := make(chan error, 1)
	publish(func(err error) { answer <- err })
	timeout := time.NewTimer(settleTimeout)
	defer timeout.Stop()
	err := events.ErrUnknownOutcome
	select {
	case err = <-answer:
	case <-timeout.C:
	}
	if err != nil {
		d.log.Warn("outcome not stored, trying the poke again", "user_id", p.pusher.user, "pusher", p.pusher.id, "error", err)
	}
	return err
}

// logAttempt writes the one line that tells of a try. What was delivered, or
// not sent, is told at debug level: the one is the rule, the other no news.
func (d *deliverer) logAttempt(p *poke, out outcome, took time.Duration) {
	level := slog.LevelInfo
	if out.kind == outcomeDelivered || out.kind == outcomePaused {
		level = slog.LevelDebug
	}
	if !d.log.Enabled(context.Background(), level) {
		return
	}
	d.log.LogAttrs(context.Background(), level, "poke",
		slog.String("outcome", out.kind.String()),
		slog.String("class", out.class),
		slog.Int("http_status", out.status),
		slog.Int("attempt", p.attempt),
		slog.String("user_id", string(p.pusher.user)),
		slog.String("room_id", string(p.room)),
		slog.String("event_id", string(p.n.EventID)),
		slog.String("app_id", p.pusher.appID),
		slog.String("pusher", string(p.pusher.id)),
		slog.String("gateway", p.pusher.origin()),
		slog.Bool("badge_only", p.badge),
		slog.Uint64("seq", p.seq),
		slog.Duration("took", took),
		slog.Duration("retry_after", out.retryAfter),
		slog.Duration("age", p.age(time.Now())),
	)
}
