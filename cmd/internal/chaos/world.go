package chaos

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"poked/cmd/internal/child"
	"poked/events/publish"
	"poked/events/stream"
	"poked/events/wait"
	"poked/registry/database/pgserver"
)

// The size of a deployment.
const (
	servers         = 3
	dispatcherCount = 3
	gatewayCount    = 3
)

// appID is the app_id of every pusher.
const appID = "org.example.chaos"

// requestTimeout is the dispatchers' timeout for a poke.
const requestTimeout = 5 * time.Second

// world is a whole deployment on this machine. All connections to NATS and to gateways,
// and those between NATS servers, go over links that can be cut.
//
//	homeserver, registries, dispatchers ─links─▶ NATS ◀─links─▶ NATS ◀─links─▶ NATS
//	                      dispatchers ──links──▶ gateways
type world struct {
	partitions int
	streams    int
	dir        string
	log        *os.File // log of the homeserver's connection
	links      *links
	nats       []*child.NATSNode
	routes     [servers][servers]*link // from one server to another; nil from one to itself

	postgres     *pgserver.Server // nil with SQLite
	registries   []*linked
	registryURLs []string
	asked        atomic.Uint64 // requests to registries, which take turns
	dispatchers  []*linked
	homeLinks    []*link
	gateways     []*gateway
	rec          *pokeRecord
	browsers     *browsers

	people *population
	conn   *stream.Conn
	home   homeserver
	pace   pace // of the homeserver
}

// linked is a process with its own links to NATS.
type linked struct {
	*child.Process

	links []*link
}

// newWorld starts the deployment and returns when the streams are set up.
func newWorld(ctx context.Context, dir string, partitions, streams int, c *population, postgres bool) (_ *world, err error) {
	w := &world{partitions: partitions, streams: streams, dir: dir, links: newLinks(), rec: newPokeRecord(), people: c, browsers: newBrowsers(c)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.close())
		}
	}()
	if err := w.startNATS(ctx); err != nil {
		return nil, err
	}
	for n := range gatewayCount {
		g, err := startGateway(ctx, n, w.rec, w.browsers, w.links)
		if err != nil {
			return nil, err
		}
		w.gateways = append(w.gateways, g)
	}
	if postgres {
		if err := w.startPostgres(ctx); err != nil {
			return nil, err
		}
	}
	if err := w.startRoles(ctx); err != nil {
		return nil, err
	}
	return w, w.connect(ctx)
}

// startNATS starts the servers and waits until they form a cluster.
func (w *world) startNATS(ctx context.Context) error {
	ports, err := child.FreePorts(servers)
	if err != nil {
		return err
	}
	for n := range servers {
		var routes []string
		for to := range servers {
			if to == n {
				continue
			}
			if w.routes[n][to], err = w.links.to(child.AddrOf(ports[to])); err != nil {
				return err
			}
			routes = append(routes, w.routes[n][to].addr())
		}
		node, err := child.NewNATSNode(w.dir, "nats"+strconv.Itoa(n), child.AddrOf(ports[n]), routes)
		if err != nil {
			return err
		}
		w.nats = append(w.nats, node)
		if err := node.Start(); err != nil {
			return err
		}
	}
	return w.until(ctx, "the nats cluster is not whole", func() bool {
		return !slices.ContainsFunc(w.nats, func(n *child.NATSNode) bool { return !n.Healthy(ctx) })
	})
}

// linksToNATS returns a link to each server.
func (w *world) linksToNATS() (all []*link, urls string, err error) {
	var each []string
	for _, n := range w.nats {
		k, err := w.links.to(n.Addr)
		if err != nil {
			return nil, "", err
		}
		all = append(all, k)
		each = append(each, "nats://"+k.addr())
	}
	return all, strings.Join(each, ","), nil
}

// startRoles starts the registry, which sets up the streams, and the dispatchers.
func (w *world) startRoles(ctx context.Context) error {
	tokens := filepath.Join(w.dir, "tokens")
	var lines strings.Builder
	for _, u := range w.people.users {
		_, _ = fmt.Fprintf(&lines, "%s %s\n", u.token, u.id) // cannot fail
	}
	if err := os.WriteFile(tokens, []byte(lines.String()), 0o600); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	if err := w.startRegistries(tokens); err != nil {
		return err
	}
	if err := w.until(ctx, "the registry does not answer", func() bool { return w.post(ctx, w.people.users[0], pathSet, "") != 0 }); err != nil {
		return err
	}
	for n := range dispatcherCount {
		// Without a catch-up limit every notification must be delivered.
		d, err := w.startRole("dispatcher"+strconv.Itoa(n), "dispatcher",
			"--request-timeout", requestTimeout.String(), "--catch-up-limit=1000000", "--log-level=debug")
		if err != nil {
			return err
		}
		w.dispatchers = append(w.dispatchers, d)
	}
	return nil
}

// startPostgres starts the server of the registries' database.
func (w *world) startPostgres(ctx context.Context) (err error) {
	if w.postgres, err = pgserver.Start(ctx, pgserver.Options{}); err != nil {
		return err
	}
	return w.postgres.Exec(ctx, "postgres", "CREATE DATABASE poked")
}

// startRegistries starts the registry, or with PostgreSQL two.
func (w *world) startRegistries(tokens string) error {
	names, database := []string{"registry"}, filepath.Join(w.dir, "poked.db")
	if w.postgres != nil {
		names, database = []string{"registry", "registry2"}, w.postgres.URL("poked")
	}
	ports, err := child.FreePorts(len(names))
	if err != nil {
		return err
	}
	for n, name := range names {
		r, err := w.startRole(name, "registry", "--http", child.AddrOf(ports[n]), "--tokens", tokens, "--database", database, "--user-rate=1000",
			"--webpush-subject", "mailto:push@matrix.org", "--streams", strconv.Itoa(w.streams))
		if err != nil {
			return err
		}
		w.registries, w.registryURLs = append(w.registries, r), append(w.registryURLs, "http://"+child.AddrOf(ports[n]))
	}
	return nil
}

func (w *world) startRole(name string, args ...string) (*linked, error) {
	all, urls, err := w.linksToNATS()
	if err != nil {
		return nil, err
	}
	l := &linked{links: all, Process: &child.Process{Name: name, Log: filepath.Join(w.dir, name+".log"), Args: child.Poked(append(args,
		"--nats", urls, "--partitions", strconv.Itoa(w.partitions), "--replicas", strconv.Itoa(servers),
		"--gateway-allow", child.Host, "--gateway-allow-http", "--log-format=json")...)}}
	return l, l.Start()
}

// connect connects the homeserver.
func (w *world) connect(ctx context.Context) (err error) {
	var urls string
	if w.homeLinks, urls, err = w.linksToNATS(); err != nil {
		return err
	}
	if w.log, err = os.Create(filepath.Join(w.dir, "homeserver.log")); err != nil {
		return fmt.Errorf("write log: %w", err)
	}
	log := slog.New(slog.NewJSONHandler(w.log, nil))
	if w.conn, err = stream.Connect(ctx, stream.Config{URL: urls, Name: "homeserver", Log: log}); err != nil {
		return err
	}
	w.home.publisher = publish.NewPublisher(w.conn)
	return w.until(ctx, "no streams are set up", func() bool { return w.conn.Join(ctx) == nil })
}

// setPushers sets the pushers of a user, and retries until the registry accepts them and browsers
// are active.
func (w *world) setPushers(ctx context.Context, u *person) error {
	for n, key := range u.pushkeys {
		body := fmt.Sprintf(`{"kind":"http","app_id":%q,"pushkey":%q,"lang":"en","app_display_name":"Chaos","device_display_name":"Phone","data":{"url":%q},"append":true}`,
			appID, key, w.gateways[u.gateways[n]].url())
		if browser := u.browsers[n]; browser != nil {
			body = fmt.Sprintf(`{"kind":"webpush","app_id":%q,"pushkey":%q,"lang":"en","app_display_name":"Chaos","device_display_name":"Browser","data":{"url":%q,"auth":%q},"append":true}`,
				appID, key, w.gateways[u.gateways[n]].resource(key), browser.Auth())
			if err := w.setBrowser(ctx, u, key, body); err != nil {
				return err
			}
			continue
		}
		if err := w.until(ctx, "the registry takes no pushers", func() bool { return w.post(ctx, u, pathSet, body) == http.StatusOK }); err != nil {
			return err
		}
	}
	return nil
}

// The paths of requests about pushers.
const (
	pathSet = "/_matrix/client/v3/pushers/set"
	pathAck = "/_matrix/client/v3/pushers/ack"
)

// post sends a user's request to a registry, another each time. It returns the status of the response,
// 0 for none.
func (w *world) post(ctx context.Context, u *person, path, body string) (status int) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, w.registryURLs[w.asked.Add(1)%uint64(len(w.registryURLs))]+path, strings.NewReader(body))
	if err != nil {
		return 0
	}
	req.Header.Set("Authorization", "Bearer "+u.token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return 0
	}
	_ = resp.Body.Close()
	return resp.StatusCode
}

// worldPatience is the time limit of until.
const worldPatience = 2 * time.Minute

// until waits until a condition holds.
func (w *world) until(ctx context.Context, complaint string, holds func() bool) error {
	ctx, cancel := context.WithTimeoutCause(ctx, worldPatience, errors.New(complaint))
	defer cancel()
	for !holds() {
		if err := wait.For(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return nil
}

// children returns all processes, NATS servers last.
func (w *world) children() []*child.Process {
	var all []*child.Process
	for _, d := range w.dispatchers {
		all = append(all, d.Process)
	}
	for _, r := range w.registries {
		all = append(all, r.Process)
	}
	for _, n := range w.nats {
		all = append(all, n.Process)
	}
	return all
}

// close ends everything.
func (w *world) close() error {
	var errs []error
	if w.conn != nil {
		errs = append(errs, w.conn.Close())
	}
	errs = append(errs, child.StopAll(w.children()))
	if w.postgres != nil {
		errs = append(errs, w.postgres.Stop())
	}
	for _, g := range w.gateways {
		errs = append(errs, g.close())
	}
	w.links.close()
	if w.log != nil {
		errs = append(errs, w.log.Close())
	}
	return errors.Join(errs...)
}
