package bench

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/valyala/fasthttp"

	"poked/cmd/internal/terminal"
	"poked/events/pushgateway"
)

// gatewaysCmd is the push gateways of a benchmark, in a separate process, each with its own
// origin. It prints the URL of its control port on standard output, and ends with its
// standard input.
//
//	GET /gateways      the URLs of the gateways
//	GET /behave/HOW    changes their behaviour
//	GET /count         pokes answered with 200 since the last report
//	GET /report        a gatewaysReport since the last one
type gatewaysCmd struct {
	Count       int           `arg:"" help:"Number of gateways."`
	AnswerAfter time.Duration `name:"answer-after" default:"5ms" env:"POKED_BENCH_ANSWER_AFTER" help:"Response time of a gateway."`
}

// Behaviours of the gateways.
const (
	behaveWell = "well"
	behaveHang = "hang" // the first does not answer until the behaviour changes
	behaveFail = "fail" // 1 % of answers are 500
	behaveDown = "down" // every answer is 503
)

// behaviour is a behaviour and the time for which it applies.
type behaviour struct {
	how   string
	since time.Time
	over  chan struct{} // closed at its end
}

// gateways is all gateways of the process.
type gateways struct {
	answerAfter time.Duration
	all         []*gateway
	behaviour   atomic.Pointer[behaviour]
	notes       gatewayNotes
}

// gateway is one gateway.
type gateway struct {
	*gateways

	number   int
	listener net.Listener
	server   *fasthttp.Server
	inFlight atomic.Int64
	most     atomic.Int64 // maximum in flight since the last report
}

// Run serves until standard input ends.
func (c gatewaysCmd) Run(ctx context.Context, std terminal.Streams) error {
	gs := &gateways{answerAfter: c.AnswerAfter}
	gs.notes.init(c.Count)
	gs.behave(behaveWell)
	served := make(chan error, c.Count+1)
	var config net.ListenConfig
	listen := func(handler fasthttp.RequestHandler) (net.Listener, *fasthttp.Server, error) {
		listener, err := config.Listen(ctx, "tcp", "127.0.0.1:0")
		if err != nil {
			return nil, nil, fmt.Errorf("listen: %w", err)
		}
		server := &fasthttp.Server{Handler: handler, NoDefaultServerHeader: true}
		go func() { served <- server.Serve(listener) }() // ends with the listener
		return listener, server, nil
	}
	for n := range c.Count {
		g := &gateway{gateways: gs, number: n}
		var err error
		if g.listener, g.server, err = listen(g.serve); err != nil {
			return err // the process ends, and closes the others
		}
		gs.all = append(gs.all, g)
	}
	desk, _, err := listen(gs.serveDesk)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(std.Out, "http://%s\n", desk.Addr()); err != nil {
		return fmt.Errorf("print address of the gateways: %w", err)
	}
	_, _ = io.Copy(io.Discard, std.In)
	gs.behave(behaveWell) // ends hanging requests
	errs := []error{desk.Close(), <-served}
	for _, g := range gs.all {
		errs = append(errs, g.listener.Close(), <-served)
	}
	return errors.Join(errs...)
}

func (gs *gateways) behave(how string) {
	old := gs.behaviour.Swap(&behaviour{how: how, since: time.Now(), over: make(chan struct{})})
	if old != nil {
		close(old.over)
	}
}

// serveDesk serves the control port.
func (gs *gateways) serveDesk(ctx *fasthttp.RequestCtx) {
	path := string(ctx.Path())
	how, behave := strings.CutPrefix(path, "/behave/")
	var answer any
	switch {
	case behave:
		gs.behave(how)
		answer = how
	case path == "/gateways":
		urls := make([]string, 0, len(gs.all))
		for _, g := range gs.all {
			urls = append(urls, "http://"+g.listener.Addr().String())
		}
		answer = urls
	case path == "/count":
		answer = gs.notes.told()
	case path == "/report":
		answer = gs.report()
	default:
		ctx.SetStatusCode(http.StatusNotFound)
		return
	}
	raw, err := json.Marshal(answer)
	if err != nil {
		ctx.Error(err.Error(), http.StatusInternalServerError)
		return
	}
	ctx.SetBody(raw)
}

// serve answers a poke.
func (g *gateway) serve(ctx *fasthttp.RequestCtx) {
	arrived := time.Now()
	body, pushed, err := bodyOf(ctx)
	if err != nil || !pushed && string(ctx.Path()) != pushgateway.NotifyPath {
		ctx.SetStatusCode(http.StatusBadRequest)
		return
	}
	now := g.inFlight.Add(1)
	defer g.inFlight.Add(-1)
	for most := g.most.Load(); now > most && !g.most.CompareAndSwap(most, now); most = g.most.Load() {
	}
	p := g.notes.tally.parse(body)
	p.pushed = pushed
	b := g.behaviour.Load()
	if g.answerAfter > 0 {
		<-time.After(g.answerAfter)
	}
	switch {
	case b.how == behaveHang && g.number == 0:
		g.notes.hung()
		<-b.over
	case b.how == behaveFail && rand.N(100) == 0: //nolint:gosec // luck needs no secrecy
		g.notes.refused(p)
		ctx.SetStatusCode(http.StatusInternalServerError)
		return
	case b.how == behaveDown:
		g.notes.refused(p)
		ctx.SetStatusCode(http.StatusServiceUnavailable)
		return
	}
	g.notes.took(g.number, p, arrived, b.since)
	ctx.SetContentType("application/json")
	ctx.SetBodyString(`{"rejected":[]}`)
}

func (gs *gateways) report() gatewaysReport {
	r := gs.notes.report()
	for _, g := range gs.all {
		r.MostInFlight = max(r.MostInFlight, g.most.Swap(0))
		r.MostConnections = max(r.MostConnections, int64(g.server.GetOpenConnectionsCount()))
	}
	return r
}

// gatewaysProcess is the process of gateways that this one started.
type gatewaysProcess struct {
	*sinkProcess

	urls []string
}

func startGateways(ctx context.Context, count int, answerAfter time.Duration) (*gatewaysProcess, error) {
	sink, err := startSink(ctx, "bench-gateways", strconv.Itoa(count), "--answer-after", answerAfter.String())
	if err != nil {
		return nil, err
	}
	p := &gatewaysProcess{sinkProcess: sink}
	if err := p.get(ctx, "/gateways", &p.urls); err != nil {
		sink.stop()
		return nil, err
	}
	return p, nil
}

// behave changes the behaviour of the gateways.
func (p *gatewaysProcess) behave(ctx context.Context, how string) error {
	var said string
	return p.get(ctx, "/behave/"+how, &said)
}

// all returns the report of the gateways, once they have answered n pokes with 200 or no
// more arrive.
func (p *gatewaysProcess) all(ctx context.Context, n int) (gatewaysReport, error) {
	var r gatewaysReport
	if err := p.await(ctx, n); err != nil {
		return r, err
	}
	if err := p.get(ctx, "/report", &r); err != nil {
		return r, err
	}
	r.Lost = n - r.Received
	return r, nil
}
