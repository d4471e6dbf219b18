package live

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"time"

	"poked/cmd/internal/child"
	"poked/events/wait"
)

// world is the deployment.
type world struct {
	root, dir string

	dendrite, poked, nginx *child.Process

	homeserver, proxy, bridge, ops string // URLs
	ours, theirs                   *sink
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

func newWorld(ctx context.Context, root, programs, dir string) (*world, error) {
	ports, err := child.FreePorts(5)
	if err != nil {
		return nil, err
	}
	addr := make([]string, len(ports))
	for i, port := range ports {
		addr[i] = net.JoinHostPort(child.Host, strconv.Itoa(port))
	}
	homeserver, proxy, registry, bridge, ops := addr[0], addr[1], addr[2], addr[3], addr[4]
	w := &world{root: root, dir: dir, homeserver: "http://" + homeserver, proxy: "http://" + proxy, bridge: "http://" + bridge, ops: "http://" + ops}
	var registration string
	if w.dendrite, registration, err = prepareDendrite(ctx, programs, filepath.Join(dir, "dendrite"), homeserver, bridge); err != nil {
		return nil, err
	}
	if w.nginx, err = prepareProxy(ctx, root, filepath.Join(dir, "nginx"), proxy, homeserver, registry); err != nil {
		return nil, err
	}
	w.poked = &child.Process{Name: "poked", Log: filepath.Join(dir, "poked.log"), Args: child.Poked(
		"serve", "--data", filepath.Join(dir, "poked"), "--http", registry, "--homeserver", w.homeserver, "--registration", registration,
		"--bridge-http", bridge, "--ops", ops, "--gateway-allow", child.Host, "--gateway-allow-http", "--partitions", "4",
		"--user-rate", "1000", "--user-burst", "10000", "--token-cache", "2s")}
	if w.ours, err = newSink(ctx); err == nil {
		w.theirs, err = newSink(ctx)
	}
	if err == nil {
		err = w.theirs.serveTLS()
	}
	return w, err
}

// start starts all processes and returns when they work.
func (w *world) start(ctx context.Context) error {
	for _, p := range []*child.Process{w.dendrite, w.nginx, w.poked} {
		if err := p.Start(); err != nil {
			return err
		}
	}
	return w.ready(ctx, w.homeserver+"/_matrix/client/versions", w.proxy+"/_matrix/client/versions", w.ops+"/readyz")
}

// patience bounds how long a process may take to start.
const patience = 60 * time.Second

// ready returns when all these URLs are answered with 200.
func (w *world) ready(ctx context.Context, urls ...string) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, url := range urls {
		err := wait.Until(ctx, 100*time.Millisecond, nil, func() error {
			_, err := send(ctx, http.MethodGet, url, "", nil)
			return err
		})
		if err != nil {
			return fmt.Errorf("wait for %s: %w", url, err)
		}
	}
	return nil
}

func (w *world) stop() {
	for _, p := range []*child.Process{w.nginx, w.dendrite} {
		p.Kill()
	}
	_ = w.poked.Stop() // if it does not stop it was killed
}
