package deliver

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"poked/dispatcher/directory"
	"poked/dispatcher/poke"
	"poked/events"
	"poked/events/pushgateway"
)

// A test push is a poke that is about no event. It uses the client, the guard and the places of
// all others, and keeps to what the gateway asked for, but is no delivery: it waits beside the
// lanes, has no unread count and is not repeated. How it went changes nothing of the gateway's
// limit, breaker and means, or one user could shut a gateway for all; only its Retry-After holds.

// testsAtGateway is how many test pushes may be in flight at one gateway.
const testsAtGateway = 2

// tester is a test push that waits for a place at a gateway, or has one.
type tester struct {
	admitted chan struct{} // closed when it has a place
	late     bool          // its answer takes longer than Patience, so it takes no place of the limit
}

// admitTesters gives places to test pushes that wait. The caller holds the mutex.
func (gs *Gateways) admitTesters(g *gateway, now time.Time) {
	for len(g.testers) > 0 && len(g.testing) < testsAtGateway && g.hasPlace(gs.ceiling) && g.shut(now) == poke.ClassOK {
		t := g.testers[0]
		g.testers = g.testers[1:]
		g.testing = append(g.testing, t)
		close(t.admitted)
	}
}

// enterTest waits until a test push may begin at a gateway. Otherwise it returns why it may
// not, and when the next poke may if that is known.
func (gs *Gateways) enterTest(ctx context.Context, origin string) (t *tester, why poke.Class, retryAt time.Time) {
	now := time.Now()
	gs.mu.Lock()
	g := gs.at(origin, now)
	if why := g.shut(now); why != poke.ClassOK {
		defer gs.mu.Unlock()
		return nil, why, g.reopens(now)
	}
	t = &tester{admitted: make(chan struct{})}
	g.testers = append(g.testers, t)
	gs.admit(g, now)
	gs.mu.Unlock()
	select {
	case <-t.admitted:
		return t, poke.ClassOK, time.Time{}
	case <-ctx.Done():
	}
	now = time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	i := slices.Index(g.testers, t)
	if i < 0 { // it was admitted meanwhile
		return t, poke.ClassOK, time.Time{}
	}
	g.testers = slices.Delete(g.testers, i, i+1)
	if why := g.shut(now); why != poke.ClassOK {
		return nil, why, g.reopens(now)
	}
	return nil, poke.ClassSlow, time.Time{}
}

// reopens returns when the next poke may go to a gateway that is shut.
func (g *gateway) reopens(now time.Time) time.Time {
	if now.Before(g.pausedUntil) {
		return g.pausedUntil
	}
	return g.breaker.nextProbe
}

// lateTest records that the answer to a test push takes longer than Patience.
func (gs *Gateways) lateTest(origin string, t *tester) {
	gs.mu.Lock()
	defer gs.mu.Unlock()
	t.late = true
	if g := gs.byOrigin[origin]; g != nil {
		gs.admit(g, time.Now())
	}
}

// leaveTest frees the place of a test push. A pause that the gateway asked for holds.
func (gs *Gateways) leaveTest(origin string, t *tester, out poke.Outcome) {
	now := time.Now()
	gs.mu.Lock()
	defer gs.mu.Unlock()
	g := gs.at(origin, now)
	g.usedAt = now
	g.testing = slices.DeleteFunc(g.testing, func(other *tester) bool { return other == t })
	gs.pause(g, now.Add(out.RetryAfter), now)
	gs.announce(g, now)
	gs.admit(g, now)
}

// testPush sends a test push to one of the partition's pushers. If the gateway has not answered
// when ctx ends, the result is that it is slow; an answer later than that is logged.
func (d *Deliverer) testPush(ctx context.Context, test events.TestPush) (events.TestResult, error) {
	if d.isClosing() || !d.Gates.lease.Held() {
		return events.TestResult{}, errNotOwner
	}
	pushers := d.Directory.Pushers(test.UserID)
	i := slices.IndexFunc(pushers, func(p *directory.Pusher) bool { return p.ID == test.Pusher })
	if i < 0 {
		return events.TestResult{Status: events.TestNotRegistered}, nil
	}
	p := pushers[i]
	if p.Refused != nil {
		return testResult(p, poke.Outcome{Kind: poke.Slow, Class: poke.ClassRefusedURL}), nil //nolint:nilerr // that is the result
	}
	place, why, retryAt := d.Gates.enterTest(ctx, p.Origin())
	if place == nil {
		result := testResult(p, poke.Outcome{Kind: poke.Paused, Class: why})
		result.RetryAt = retryAt
		return result, nil
	}
	return d.tested(ctx, p, place, test.EventID), nil
}

// tested sends a test push that has a place, and returns its result or, when ctx ends, that the
// gateway is slow.
func (d *Deliverer) tested(ctx context.Context, p *directory.Pusher, place *tester, event events.EventID) events.TestResult {
	answered := make(chan events.TestResult, 1)
	d.Gates.spawn(func() { answered <- d.sendTest(p, place, event) })
	late := time.NewTimer(Patience)
	defer late.Stop()
	for {
		select {
		case result := <-answered:
			return result
		case <-late.C:
			d.Gates.lateTest(p.Origin(), place)
		case <-ctx.Done():
			d.Gates.lateTest(p.Origin(), place)
			return testResult(p, poke.Outcome{Kind: poke.Retry, Class: poke.ClassSlow})
		}
	}
}

// sendTest sends a test push and gives its place back.
func (d *Deliverer) sendTest(p *directory.Pusher, place *tester, event events.EventID) events.TestResult {
	poked := outgoing{pusher: p, uncounted: true, limit: noLimit, n: events.Notification{
		About: events.About{EventID: event}, Tweaks: []byte(`{"sound":"default"}`),
		Body: (&pushgateway.Notification{EventID: string(event)}).AppendJSON(nil),
	}}
	began := time.Now()
	out, _ := d.post(&sender{}, &poked)
	took := time.Since(began)
	d.Gates.leaveTest(p.Origin(), place, out)
	d.Log.LogAttrs(context.Background(), slog.LevelInfo, "test push",
		slog.String("outcome", out.Kind.String()), slog.String("class", out.Class.String()), slog.Int("http_status", out.Status),
		slog.String("user_id", string(p.User)), slog.String("app_id", p.AppID), slog.String("pusher", string(p.ID)),
		slog.String("gateway", p.Origin()), slog.Duration("took", took), slog.Duration("retry_after", out.RetryAfter))
	if out.Kind == poke.Rejected {
		_ = d.reject(&poked, "", time.Now()) // logged; the next poke is rejected as well
	}
	result := testResult(p, out)
	result.TookMS = took.Milliseconds()
	if out.RetryAfter > 0 {
		result.RetryAt = time.Now().Add(out.RetryAfter)
	}
	return result
}

// testResult returns how a test push with an outcome went.
func testResult(p *directory.Pusher, out poke.Outcome) events.TestResult {
	result := events.TestResult{Status: events.TestUnreachable, Class: out.Class.String(), HTTPStatus: out.Status, Gateway: p.Origin()}
	switch {
	case out.Kind == poke.Delivered:
		result.Status, result.Class = events.TestOK, ""
	case out.Kind == poke.Rejected:
		result.Status = events.TestRejected
	case out.Class == poke.ClassHTTP429, out.Class == poke.ClassPaused:
		result.Status = events.TestRateLimited
	}
	return result
}
