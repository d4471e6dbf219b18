package page

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/events"
	"poked/events/operator"
	"poked/events/pushgateway"
	"poked/events/stream"
)

const (
	// actFor is how long an action may take, and actLong work on dead letters.
	actFor  = time.Minute
	actLong = 6 * time.Hour
	// actWait is how long a request waits for the end of its action before it shows the progress.
	actWait = 2 * time.Second
	// maxJobs is how many actions go on at a time.
	maxJobs = 4
)

// action is something that an operator can do.
type action struct {
	verb   string
	fields []string // of its form
	// plan returns what the action would do with a form, without doing it.
	plan func(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (*plan, error)
	// do does it, and returns what became of it. It may report progress.
	do func(ctx context.Context, conn *stream.Conn, form url.Values, progress func(done, all int)) (state, string)
	// long is set if it may take longer than actFor.
	long bool
}

// plan is what is shown before an action, and kept in the history.
type plan struct {
	What   string   // the action, in words
	Will   []string // sentences: what will happen
	Button string
	Danger bool // it cannot be undone
	Empty  bool // there is nothing to do
	Back   string
	Fields [][2]string
	Verb   string
}

func actions() []action {
	pushers := []string{"user", "app", "pusher", "gateway"}
	dead := []string{"user", "room", "reason", "app", "since", "seq", "all"}
	return []action{
		{verb: "try", fields: pushers, plan: planTry, do: tryNow},
		{verb: "skip", fields: pushers, plan: planSkip, do: skip},
		{verb: "test", fields: pushers, plan: planTest, do: testPush},
		{verb: "retry-dead", fields: dead, plan: planDead(operate.RetryDead()), do: doDead(operate.RetryDead()), long: true},
		{verb: "drop-dead", fields: dead, plan: planDead(operate.DropDead()), do: doDead(operate.DropDead()), long: true},
	}
}

// check refuses a form with a field that the action does not know, or with one twice: what it
// should have excluded would be included.
func (a *action) check(form url.Values) error {
	for name, values := range form {
		if !slices.Contains(a.fields, name) || len(values) != 1 {
			return badInput("The field %q is unknown, or there is more than one.", plain(name))
		}
	}
	return nil
}

// planned returns what the action would do with a form.
func (a *action) planned(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (*plan, error) {
	if err := a.check(form); err != nil {
		return nil, err
	}
	return a.plan(ctx, conn, form, f)
}

// routeActions sets up the pages that show what an action will do, and do it.
func (p *Page) routeActions() {
	for _, a := range actions() {
		p.mux.HandleFunc("GET /do/"+a.verb, p.confirm(a))
		p.mux.Handle("POST /do/"+a.verb, p.sameOrigin(p.act(a)))
	}
}

// mayAct reports whether a request may act, and otherwise answers it.
func (p *Page) mayAct(w http.ResponseWriter, r *http.Request) bool {
	switch {
	case !p.access.canAct():
		p.fail(w, r, &problem{http.StatusForbidden, "This page is read-only: actions need a token, and this process was started without --ops-token-file."})
	case !p.access.mayAct(r):
		p.askToken(w, r)
	default:
		return true
	}
	return false
}

// confirm shows what an action will do.
func (p *Page) confirm(a action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.mayAct(w, r) {
			return
		}
		v := view{name: "confirm", title: "Confirm", heavy: true}
		v.data = func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error {
			planned, err := a.planned(ctx, conn, r.URL.Query(), f)
			if err != nil {
				return err
			}
			planned.Verb, f.Title, f.Data = a.verb, planned.What, planned
			for name, values := range r.URL.Query() {
				planned.Fields = append(planned.Fields, [2]string{name, values[0]})
			}
			return nil
		}
		f, err := p.fill(r, v)
		if err != nil {
			p.fail(w, r, err)
			return
		}
		p.render(w, http.StatusOK, v.name, f)
	}
}

// act does an action that was confirmed, and shows what became of it.
func (p *Page) act(a action) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.mayAct(w, r) {
			return
		}
		var planned *plan
		_, err := p.fill(r, view{heavy: true, data: func(ctx context.Context, conn *stream.Conn, _ *http.Request, f *frame) (err error) {
			planned, err = a.planned(ctx, conn, r.PostForm, f)
			return err
		}})
		if err != nil {
			p.fail(w, r, err)
			return
		}
		id, done := p.begin(a, planned, r)
		if done == nil {
			p.fail(w, r, &problem{http.StatusServiceUnavailable, "Other actions are still going on: wait until one of them has ended."})
			return
		}
		select {
		case <-done:
		case <-time.After(actWait):
		case <-r.Context().Done():
		}
		http.Redirect(w, r, entryPath(id), http.StatusSeeOther)
	}
}

// begin begins an action, which goes on if the browser leaves. done is closed when it has ended;
// it is nil if the action did not begin.
func (p *Page) begin(a action, planned *plan, r *http.Request) (id int, done <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	conn := p.conn.Load()
	if p.ctx == nil || conn == nil || p.running == maxJobs {
		return 0, nil
	}
	p.running++
	form, from := r.PostForm, r.RemoteAddr
	log := p.cfg.Log.With("action", a.verb, "filter", form.Encode(), "remote", from)
	log.Info("an operator has begun an action on the page")
	id = p.history.begin(entry{At: time.Now(), From: from, What: planned.What, Back: planned.Back})
	ended := make(chan struct{})
	limit := actFor
	if a.long {
		limit = actLong
	}
	ctx, cancel := context.WithTimeout(p.ctx, limit)
	p.jobs.Go(func() {
		defer close(ended)
		defer cancel()
		outcome, result := a.do(ctx, conn, form, func(done, all int) {
			p.history.change(id, func(e *entry) { e.Done, e.All = done, all })
		})
		p.history.end(id, outcome, result)
		log.Info("an operator's action on the page has ended", "state", outcome.Word, "result", result)
		p.mu.Lock()
		defer p.mu.Unlock()
		p.running--
	})
	return id, ended
}

// done and failed are how actions end.
func done(text string) (state, string) { return state{good, "done", ""}, text }
func failed(err error) (state, string) {
	return state{bad, "failed", ""}, sentence(explain(err)) + "."
}

// nothing is how an action ends that found nothing to do.
func nothing(text string) (state, string) { return state{warn, "nothing done", ""}, text }

// pusherFilterOf reads which pushers are meant. It must name a user or a gateway.
func pusherFilterOf(form url.Values) (f events.PusherFilter, err error) {
	f = events.PusherFilter{UserID: events.UserID(form.Get("user")), AppID: form.Get("app"), Pusher: events.PusherID(form.Get("pusher"))}
	if f.UserID != "" && !f.UserID.Valid() {
		return f, badInput("%q is no user id. Want one such as @alice:example.org.", plain(f.UserID))
	}
	if origin := form.Get("gateway"); origin != "" {
		if f.Gateway, err = pushgateway.ParseOrigin(origin); err != nil {
			return f, badInput("That is not the URL of a push gateway, such as https://push.example.org.")
		}
	}
	if f.UserID == "" && f.Gateway == "" {
		return f, badInput("Name a user or a gateway.")
	}
	return f, nil
}

// selected is what is known of the pushers that a filter admits.
type selected struct {
	filter        events.PusherFilter
	all, lagging  int
	more          bool   // there are more than maxSelected
	name          string // of the only one, or of all
	waiting       uint64
	gatewayPaused bool
	back          string
}

// maxSelected is how many pushers a confirmation counts.
const maxSelected = 1000

func selectPushers(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (s selected, err error) {
	if s.filter, err = pusherFilterOf(form); err != nil {
		return s, err
	}
	var only operate.Pusher
	for pusher, err := range operate.Pushers(ctx, conn, s.filter, false, f.missing) {
		if err != nil {
			return s, err
		}
		if s.more = s.all == maxSelected; s.more {
			break
		}
		s.all++
		if pusher.State == events.PusherLagging {
			s.lagging++
			s.waiting += pusher.Waiting
			s.gatewayPaused = s.gatewayPaused || pusher.Because == "paused"
		}
		only = pusher
	}
	switch {
	case s.filter.UserID != "" && s.all == 1:
		s.name = nameOf(only.Names, only.AppID) + " of " + plain(s.filter.UserID)
	case s.filter.UserID != "":
		s.name = "the pushers of " + plain(s.filter.UserID)
	default:
		s.name = "the pushers at " + operate.ShortOrigin(s.filter.Gateway)
	}
	s.back = "/gateways?" + url.Values{"origin": {s.filter.Gateway}}.Encode()
	if s.filter.UserID != "" {
		s.back = "/person?" + url.Values{"user": {string(s.filter.UserID)}}.Encode()
	}
	return s, nil
}

// counts says how many pushers are selected.
func (s *selected) counts() string {
	most := ""
	if s.more {
		most = "At least "
	}
	verb := "lag"
	if s.lagging == 1 {
		verb = "lags"
	}
	return sentence(most+count(s.all, "pusher is selected", "pushers are selected")) + ", of which " + count(s.lagging, "", "") + verb + "."
}

func planTry(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (*plan, error) {
	s, err := selectPushers(ctx, conn, form, f)
	if err != nil {
		return nil, err
	}
	p := &plan{What: "Try " + s.name + " now", Button: "Try now", Back: s.back, Empty: s.lagging == 0, Will: []string{s.counts()}}
	if p.Empty {
		p.Will = append(p.Will, "None of them lags, so there is nothing to try.")
		return p, nil
	}
	p.Will = append(p.Will, "poked tries to deliver what waits for them now, instead of after their backoff. Nothing is delivered twice for it.",
		"While their gateway is down, one of them is the probe and the others wait for its result.")
	if s.gatewayPaused {
		p.Will = append(p.Will, "Their gateway asked poked to wait (Retry-After): that is still honoured.")
	}
	return p, nil
}

func tryNow(ctx context.Context, conn *stream.Conn, form url.Values, _ func(done, all int)) (state, string) {
	filter, err := pusherFilterOf(form)
	if err != nil {
		return failed(err)
	}
	n, err := operator.NewClient(conn).RetryPushers(ctx, filter)
	switch {
	case err != nil:
		return failed(err)
	case n.Retried == 0:
		return nothing("None of the " + count(n.Pushers, "pusher", "pushers") + " that match lags.")
	}
	return done(sentence(count(n.Retried, "pusher is", "pushers are")) + " tried now.")
}

func planSkip(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (*plan, error) {
	s, err := selectPushers(ctx, conn, form, f)
	switch {
	case err != nil:
		return nil, err
	case s.filter.UserID == "" || s.filter.Pusher == "":
		return nil, badInput("Name the user and the pusher.")
	}
	p := &plan{What: "Skip what " + s.name + " is stuck at", Button: "Skip it", Back: s.back, Empty: s.lagging == 0}
	if p.Empty {
		p.Will = []string{"It does not lag: nothing waits that could be skipped."}
		return p, nil
	}
	p.Will = []string{
		count(s.waiting, "notification waits", "notifications wait") + " for it.",
		"The oldest of them becomes a dead letter with reason skipped, and this device does not ring for it.",
		"Then the next one is tried. A skipped one can be sent after all, from the dead letters.",
	}
	return p, nil
}

func skip(ctx context.Context, conn *stream.Conn, form url.Values, _ func(done, all int)) (state, string) {
	filter, err := pusherFilterOf(form)
	if err != nil {
		return failed(err)
	}
	n, err := operator.NewClient(conn).SkipPushers(ctx, filter)
	switch {
	case err != nil:
		return failed(err)
	case n.Skipped == 0:
		return nothing("Nothing was skipped: no poke waits, or it is in flight now.")
	}
	return done(sentence(count(n.Skipped, "poke is a dead letter", "pokes are dead letters")) + " now, and the pusher goes on with the next.")
}

func planTest(ctx context.Context, conn *stream.Conn, form url.Values, f *frame) (*plan, error) {
	s, err := selectPushers(ctx, conn, form, f)
	switch {
	case err != nil:
		return nil, err
	case s.filter.UserID == "":
		return nil, badInput("Name the user.")
	}
	return &plan{
		What: "Send a test push to " + s.name, Button: "Send it", Back: s.back,
		Will: []string{
			"Its gateway gets one poke that is about no event. What the phone shows for that is the app's decision.",
			"It is not repeated, and changes nothing of what waits. While the gateway is down or paused, it is not sent.",
			"If the gateway rejects the pushkey, the pusher is removed, as after any poke.",
		},
	}, nil
}

func testPush(ctx context.Context, conn *stream.Conn, form url.Values, _ func(done, all int)) (state, string) {
	filter, err := pusherFilterOf(form)
	if err != nil {
		return failed(err)
	}
	tested, err := operate.TestPushers(ctx, conn, filter)
	switch {
	case err != nil:
		return failed(err)
	case len(tested) == 0:
		return nothing("The user has no such pusher.")
	}
	outcome := state{good, "ok", ""}
	var lines []string
	for i := range tested {
		t := &tested[i]
		if t.Status != events.TestOK {
			outcome = state{bad, strings.ReplaceAll(string(t.Status), "_", " "), ""}
		}
		lines = append(lines, nameOf(t.Names, t.AppID)+": "+operate.TestWords(&t.TestResult, time.Now()))
	}
	return outcome, strings.Join(lines, "\n")
}
