package chaos

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"poked/cmd/internal/child"
	"poked/events/stream"
	"poked/events/wait"
)

// injected is a fault that was injected.
type injected struct {
	fault

	Who         []string  `json:"who"`
	From        time.Time `json:"from"`
	To          time.Time `json:"to"`
	dispatchers []int     // numbers of the affected dispatchers
	gateway     int       // number of the affected gateway, -1 for none
}

// inject injects a fault and ends it after its duration.
func (w *world) inject(ctx context.Context, f fault, progress func(string, ...any)) (injected, error) {
	h := injected{fault: f, gateway: -1}
	if f.hurries() {
		w.pace.kills.Add(1)
		defer w.pace.kills.Add(-1)
		_ = wait.For(ctx, loadBefore) // the fault is ended in any case
	}
	begin := w.choose(ctx, &h)
	h.From = time.Now()
	undo, err := begin()
	if err != nil {
		return h, fmt.Errorf("inject %s of %s: %w", f.Kind, f.Victim, err)
	}
	progress("%-10s %-8s %s for %s", f.Track, f.Kind, strings.Join(h.Who, ", "), f.For.Round(time.Millisecond))
	_ = wait.For(ctx, f.For) // the fault is ended in any case
	err = undo()
	h.To = time.Now()
	return h, err
}

// injection begins a fault and returns a function that ends it.
type injection func() (undo func() error, err error)

// choose selects the victims of a fault, which may take some time.
func (w *world) choose(ctx context.Context, h *injected) injection {
	toChildren := func(children []*child.Process) injection {
		return func() (func() error, error) { return breakChildren(h.Kind, children) }
	}
	toLinks := func(kind string, links []*link) injection {
		return func() (func() error, error) { return breakLinks(kind, links) }
	}
	switch h.Track {
	case "dispatcher":
		return toChildren(childrenOf(w.victims(ctx, h)))
	case "nats":
		nodes := w.servers(ctx, h)
		if h.Kind == faultIsolate {
			return toLinks(faultCut, w.routesOf(nodes[0]))
		}
		var children []*child.Process
		for _, n := range nodes {
			children = append(children, w.nats[n].Process)
		}
		return toChildren(children)
	case "registry":
		return toChildren([]*child.Process{w.aRegistry(h).Process})
	case "database":
		h.Who = []string{victimDatabase}
		return func() (func() error, error) { return w.breakDatabase(ctx, h.Kind), nil }
	case "link":
		return toLinks(h.Kind, w.linksOf(ctx, h))
	default:
		return func() (func() error, error) { return w.breakGateway(h) }
	}
}

// breakChildren applies a fault to processes.
func breakChildren(kind string, children []*child.Process) (undo func() error, err error) {
	for _, c := range children {
		switch kind {
		case faultKill:
			c.Kill()
		case faultPause:
			c.Pause()
		case faultStop:
			err = errors.Join(err, c.Stop())
		}
	}
	return func() error {
		var errs []error
		for _, c := range children {
			if kind == faultPause {
				c.Resume()
			} else {
				errs = append(errs, c.Start())
			}
		}
		return errors.Join(errs...)
	}, err
}

// breakDatabase applies a fault to the PostgreSQL server.
func (w *world) breakDatabase(ctx context.Context, kind string) (undo func() error) {
	if kind == faultPause {
		w.postgres.Pause()
		return func() error { w.postgres.Resume(); return nil }
	}
	w.postgres.Kill()
	return func() error { return w.postgres.Restart(context.WithoutCancel(ctx)) }
}

// aRegistry selects a registry.
func (w *world) aRegistry(h *injected) *linked {
	r := w.registries[h.random%uint64(len(w.registries))]
	h.Who = []string{r.Name}
	return r
}

// breakLinks applies a fault to links.
func breakLinks(kind string, links []*link) (undo func() error, err error) {
	each := func(do func(*link) error) error {
		var errs []error
		for _, k := range links {
			errs = append(errs, do(k))
		}
		return errors.Join(errs...)
	}
	switch kind {
	case faultStall:
		return func() error { return each((*link).removeToxic) }, each(func(k *link) error { return k.addToxic(toxicStall) })
	case faultSlow:
		return func() error { return each((*link).removeToxic) }, each(func(k *link) error { return k.addToxic(toxicSlow) })
	default:
		return func() error { return each((*link).restore) }, each(func(k *link) error { k.cut(); return nil })
	}
}

// breakGateway applies a fault to one gateway.
func (w *world) breakGateway(h *injected) (undo func() error, err error) {
	h.gateway = int(h.random % uint64(len(w.gateways))) //nolint:gosec // a small number
	g := w.gateways[h.gateway]
	h.Who = []string{fmt.Sprintf("gateway%d", h.gateway)}
	if h.Kind == faultCut || h.Kind == faultStall {
		return breakLinks(h.Kind, []*link{g.link})
	}
	g.behave(h.Kind)
	return func() error { g.behave(behaveWell); return nil }, nil
}

// victims selects dispatchers.
func (w *world) victims(ctx context.Context, h *injected) []*linked {
	switch h.Victim {
	case victimBusiest:
		h.dispatchers = []int{w.busiest(ctx)}
	case victimAny:
		h.dispatchers = []int{int(h.random % uint64(len(w.dispatchers)))} //nolint:gosec // a small number
	default:
		for n := range w.dispatchers {
			h.dispatchers = append(h.dispatchers, n)
		}
	}
	var chosen []*linked
	for _, n := range h.dispatchers {
		chosen = append(chosen, w.dispatchers[n])
		h.Who = append(h.Who, w.dispatchers[n].Name)
	}
	return chosen
}

func childrenOf(all []*linked) []*child.Process {
	var children []*child.Process
	for _, l := range all {
		children = append(children, l.Process)
	}
	return children
}

// linksOf selects the links to NATS that a fault affects.
func (w *world) linksOf(ctx context.Context, h *injected) []*link {
	switch h.Victim {
	case victimRegistry:
		return w.aRegistry(h).links
	case victimServer:
		h.Who = []string{victimServer}
		return w.homeLinks
	default:
		return w.victims(ctx, h)[0].links
	}
}

// servers selects NATS servers.
func (w *world) servers(ctx context.Context, h *injected) []int {
	leader := w.leader(ctx)
	var chosen []int
	switch h.Victim {
	case victimLeader:
		chosen = []int{leader}
	case victimFollower:
		chosen = []int{(leader + 1 + int(h.random%2)) % len(w.nats)}
	case victimTwo:
		chosen = []int{leader, (leader + 1 + int(h.random%2)) % len(w.nats)}
	default:
		chosen = []int{0, 1, 2}
	}
	for _, n := range chosen {
		h.Who = append(h.Who, w.nats[n].Name)
	}
	return chosen
}

// leader returns the number of the server that leads NOTIFICATIONS, or the first of several such
// streams, or 0 if that is unknown.
func (w *world) leader(ctx context.Context) int {
	log := w.conn.Topology().StreamOf(stream.Notifications, 0)
	for _, n := range w.nats {
		name := n.Leader(ctx, log)
		if at := slices.IndexFunc(w.nats, func(n *child.NATSNode) bool { return n.Name == name }); at >= 0 {
			return at
		}
	}
	return 0
}

// routesOf returns the links between a server and the others.
func (w *world) routesOf(n int) []*link {
	var links []*link
	for other := range w.nats {
		if other != n {
			links = append(links, w.routes[n][other], w.routes[other][n])
		}
	}
	return links
}

// busiest returns the dispatcher that used the most CPU time recently.
func (w *world) busiest(ctx context.Context) int {
	before := make([]time.Duration, len(w.dispatchers))
	for n, d := range w.dispatchers {
		before[n] = child.CPUOf(d.PID())
	}
	_ = wait.For(ctx, 300*time.Millisecond) // if it ends early, the sample is shorter
	most, busiest := time.Duration(-1), 0
	for n, d := range w.dispatchers {
		if worked := child.CPUOf(d.PID()) - before[n]; worked > most {
			most, busiest = worked, n
		}
	}
	return busiest
}
