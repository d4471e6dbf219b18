package page

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"time"

	"poked/cmd/internal/operate"
	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// shownRemoved is how many removed pushers of a person are shown: as many as a registry keeps.
const shownRemoved = 20

// person is the page about one user.
type person struct {
	User    events.UserID
	Devices []device
	Rules   *operate.Rules
	InOrder []rule
	Removed []removed
}

// device is a pusher of a person.
type device struct {
	operate.Pusher
	Name    string
	State   state
	Kind    string
	Off     bool // nothing is sent to it
	Set     time.Time
	Known   bool // a dispatcher answers for it
	Failure string
}

// rule is a push rule, in the order of evaluation.
type rule struct {
	Kind, ID, Actions string
	On                bool
}

// removed is a pusher that is gone.
type removed struct {
	At         time.Time
	AppID, Why string
	Pusher     events.PusherID
}

func (p *Page) personView() view {
	return view{
		name: "person", section: "/person", title: "A person", heavy: true,
		data: func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error {
			user := events.UserID(r.URL.Query().Get("user"))
			shown := &person{User: user}
			f.Data = shown
			switch {
			case user == "":
				return nil
			case !user.Valid():
				return badInput("%q is no user id. Want one such as @alice:example.org.", plain(user))
			}
			f.Title = plain(user)
			return shown.fill(ctx, conn, f)
		},
	}
}

// fill reads what is known of the person.
func (s *person) fill(ctx context.Context, conn *stream.Conn, f *frame) error {
	if err := s.addDevices(ctx, conn, f); err != nil {
		return err
	}
	rules, err := operate.RulesOf(ctx, conn, s.User)
	if err != nil {
		f.missing("the push rules", err)
	} else {
		s.Rules = rules
		for kind, r := range rules.Rules.InOrder() {
			s.InOrder = append(s.InOrder, rule{string(kind), r.ID, operate.ActionsOf(r), r.Enabled})
		}
	}
	gone, err := operator.NewClient(conn).Removals(ctx, s.User, shownRemoved)
	if err != nil {
		f.missing("removed pushers", err)
	}
	for _, r := range gone {
		s.Removed = append(s.Removed, removed{time.Unix(r.At, 0), r.AppID, r.Reason, r.PusherID})
	}
	return nil
}

// addDevices adds the pushers that the registry has published, with what dispatchers know of
// them.
func (s *person) addDevices(ctx context.Context, conn *stream.Conn, f *frame) error {
	set, err := conn.PushersOfUser(ctx, s.User)
	if err != nil {
		return err
	}
	states := map[events.PusherID]operate.Pusher{}
	for pusher, err := range operate.Pushers(ctx, conn, events.PusherFilter{UserID: s.User}, true, f.missing) {
		if err != nil {
			f.missing("what dispatchers know", err)
			break
		}
		states[pusher.Pusher] = pusher
	}
	for i := range set.Pushers {
		s.Devices = append(s.Devices, deviceOf(s.User, &set.Pushers[i], states, f.Now))
	}
	slices.SortFunc(s.Devices, func(a, b device) int {
		return cmp.Or(b.State.Level.rank()-a.State.Level.rank(), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Pusher.Pusher, b.Pusher.Pusher))
	})
	return nil
}

func deviceOf(user events.UserID, p *events.Pusher, states map[events.PusherID]operate.Pusher, now time.Time) device {
	id := events.NewPusherID(user, p.AppID, p.Pushkey)
	known, ok := states[id]
	d := device{Pusher: known, Known: ok, Kind: p.Kind, Off: !p.IsPoked(), Set: time.Unix(p.PushkeyTS, 0)}
	if !ok {
		d.UserID, d.AppID, d.Pusher.Pusher, d.Gateway = user, p.AppID, id, originOf(p.Data)
	}
	d.Names = operate.Names{Device: p.DeviceDisplayName, App: p.AppDisplayName}
	d.Name, d.Failure = nameOf(d.Names, p.AppID), operate.Failure(d.LastError)
	switch {
	case p.Disabled:
		d.State = state{quiet, "disabled", "its client has switched it off, and nothing is sent to it."}
	case p.Inactive:
		d.State = state{quiet, "not acknowledged", "the browser has yet to acknowledge that pushes reach it, and nothing else is sent to it."}
	case !ok:
		d.State = state{warn, "unknown", "no dispatcher answers for it."}
	default:
		d.State = pusherState(&known.PusherState, now)
	}
	return d
}

// originOf returns the gateway in a pusher's data without what may be secret: its path.
func originOf(data json.RawMessage) string {
	var in struct {
		URL string `json:"url"`
	}
	_ = json.Unmarshal(data, &in) // the registry has checked it
	if u, err := url.Parse(in.URL); err == nil && u.Host != "" {
		return u.Scheme + "://" + u.Host
	}
	return ""
}
