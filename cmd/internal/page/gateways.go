package page

import (
	"cmp"
	"context"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/events"
	"poked/events/pushgateway"
	"poked/events/stream"
)

const (
	// shownGateways is how many gateways the list shows: those that do not work first.
	shownGateways = 100
	// shownWaiting is how many pushers that wait for a gateway are shown by name.
	shownWaiting = 25
)

// gateway is a push gateway, as all dispatchers together see it.
type gateway struct {
	Origin string
	State  state // the worst that a dispatcher reports
	Since  time.Time

	InFlight, Limit, Waiting, Lagging int
	LatencyMS, ErrorRate              float64 // the highest
	Failure                           string  // the last one, in words
	NextProbe, PausedUntil            time.Time

	At []gatewayAt // at each dispatcher, if there are several
}

// gatewayAt is a gateway at one dispatcher.
type gatewayAt struct {
	events.GatewayState
	Words state
}

// Link returns the address of the page about the gateway.
func (g *gateway) Link() string { return "/gateways?origin=" + url.QueryEscape(g.Origin) }

// Window is over how many requests the averages go.
func (g *gateway) Window() int { return events.GatewayWindow }

// gatewaysOf puts together what the dispatchers report, the worst first.
func gatewaysOf(states []events.GatewayState, now time.Time) []gateway {
	byOrigin := map[string]*gateway{}
	for i := range states {
		s := &states[i]
		g := byOrigin[s.Origin]
		if g == nil {
			g = &gateway{Origin: s.Origin, State: state{Level: good}}
			byOrigin[s.Origin] = g
		}
		g.add(s, now)
	}
	all := make([]gateway, 0, len(byOrigin))
	for _, g := range byOrigin {
		all = append(all, *g)
	}
	slices.SortFunc(all, func(a, b gateway) int {
		return cmp.Or(b.State.Level.rank()-a.State.Level.rank(), b.Lagging-a.Lagging, cmp.Compare(a.Origin, b.Origin))
	})
	return all
}

func (g *gateway) add(s *events.GatewayState, now time.Time) {
	words := gatewayState(s, now)
	if g.State.Word == "" || words.Level.rank() > g.State.Level.rank() {
		g.State, g.Since, g.NextProbe, g.PausedUntil = words, s.Since, s.NextProbe, s.PausedUntil
	}
	g.InFlight, g.Limit, g.Waiting, g.Lagging = g.InFlight+s.InFlight, g.Limit+s.Limit, g.Waiting+s.Waiting, g.Lagging+s.Lagging
	g.LatencyMS, g.ErrorRate = max(g.LatencyMS, s.LatencyMS), max(g.ErrorRate, s.ErrorRate)
	if s.LastError != "" {
		g.Failure = operate.Failure(s.LastError)
	}
	g.At = append(g.At, gatewayAt{*s, words})
}

// gatewayList is the page of all gateways, or of one.
type gatewayList struct {
	All   []gateway
	More  int      // that are not shown
	One   *gateway // if it is about one
	Waits []operate.Pusher
	Of    int // how many wait, if more than are shown
}

func (p *Page) gatewaysView() view {
	return view{
		name: "gateways", section: "/gateways", title: "Gateways", every: 5 * time.Second, parts: []string{"list"},
		data: func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error {
			l := p.lookAt(conn)
			list := &gatewayList{All: gatewaysOf(l.gateways, f.Now)}
			f.Data = list
			if l.gatewaysErr != nil {
				f.missing("what some dispatchers know", l.gatewaysErr)
			}
			if given := r.URL.Query().Get("origin"); given != "" {
				return list.narrow(ctx, conn, given, f)
			}
			if list.More = len(list.All) - shownGateways; list.More > 0 {
				list.All = list.All[:shownGateways]
			}
			return nil
		},
	}
}

// narrow shows one gateway, and who waits for it.
func (list *gatewayList) narrow(ctx context.Context, conn *stream.Conn, given string, f *frame) error {
	origin, err := pushgateway.ParseOrigin(given)
	if err != nil {
		return badInput("That is not the URL of a push gateway, such as https://push.example.org.")
	}
	f.Title = "Gateway " + operate.ShortOrigin(origin)
	list.All = slices.DeleteFunc(list.All, func(g gateway) bool { return g.Origin != origin })
	if len(list.All) == 0 {
		return notFound("No dispatcher uses the push gateway %s now. Gateways are forgotten when nothing has been sent to them for a while.", origin)
	}
	list.One = &list.All[0]
	filter := events.PusherFilter{Gateway: origin, State: events.PusherLagging}
	for pusher, err := range operate.Pushers(ctx, conn, filter, false, f.missing) {
		if err != nil {
			f.missing("who waits for it", err)
			break
		}
		if len(list.Waits) == shownWaiting {
			list.Of = list.One.Lagging
			break
		}
		list.Waits = append(list.Waits, pusher)
	}
	return nil
}

// nameOf returns the names by which a user knows a pusher.
func nameOf(n operate.Names, appID string) string {
	device, app := strings.TrimSpace(n.Device), strings.TrimSpace(n.App)
	if app == "" {
		app = appID
	}
	if device == "" {
		return plain(app)
	}
	return plain(device + " · " + app)
}
