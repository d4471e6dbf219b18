package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// After a failed write, because the disk is full or no file descriptor is left, a NATS
// server keeps the error forever: the stream refuses every write until the server restarts,
// while the server keeps running and looks fine. Only its health check shows the error. For
// a stream that sources from another, JetStream is disabled instead. So natsWatch runs the
// health check, /readyz shows its result, and if the error persists the process ends, so
// that a supervisor restarts it. While the disk is full a restart would not help: then the
// process waits, not ready, until there is free space, and so does one that starts.

const (
	healthInterval = time.Second
	// healthPatience is how long the server may be unhealthy before the process ends.
	healthPatience = 10 * time.Second
	// minRoom is how many bytes must be free on the disk to start: what the server and
	// the database need to start and to write for a moment.
	minRoom = 8 << 20
)

// natsWatch watches an embedded NATS server.
type natsWatch struct {
	nats    *EmbeddedNATS
	dir     string // where its files are
	log     *slog.Logger
	trouble atomic.Pointer[string] // why it cannot store; nil if it can
}

// unready returns why the server cannot store, or "".
func (w *natsWatch) unready() string {
	if why := w.trouble.Load(); why != nil {
		return *why
	}
	return ""
}

// run watches until ctx ends. It fails if the server does not work and a restart would
// help.
func (w *natsWatch) run(ctx context.Context) error {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	var since time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if !w.nats.Running() {
			return w.nats.gaveUp()
		}
		why := w.ask()
		if why == "" {
			w.recovered()
			since = time.Time{}
			continue
		}
		if since.IsZero() {
			since = time.Now()
			w.log.Error("the embedded nats cannot store", "error", why)
		}
		if free, known := roomAt(w.dir); known && free < minRoom {
			why += fmt.Sprintf("; the disk has %d bytes free, a restart needs %d", free, minRoom)
		} else if time.Since(since) >= healthPatience {
			return fmt.Errorf("the embedded nats cannot store, a restart mends it: %s", why)
		}
		w.trouble.Store(&why)
	}
}

func (w *natsWatch) recovered() {
	if w.trouble.Swap(nil) != nil {
		w.log.Info("the embedded nats can store again")
	}
}

// ask returns why the server cannot store, or "".
func (w *natsWatch) ask() string {
	if err := errors.Join(w.nats.gaveUp(), w.nats.log.fatalError()); err != nil {
		return err.Error()
	}
	// Without free file descriptors the health check finds no streams and reports no error.
	files, err := os.Open(w.dir)
	if err != nil {
		return "cannot open files: " + err.Error()
	}
	defer func() { _ = files.Close() }() // nothing was done with it
	return strings.Join(w.nats.ask(), "\n")
}

// complaintsOf returns why a server says that it is not well.
func complaintsOf(ns *server.Server) (reasons []string) {
	health := ns.Healthz(&server.HealthzOptions{Details: true})
	for _, e := range health.Errors {
		reasons = append(reasons, reasonOf(e))
	}
	if health.Error != "" {
		reasons = append(reasons, "nats: "+health.Error)
	}
	if full := isFull(ns); full != "" {
		reasons = append(reasons, full)
	}
	return reasons
}

// reasonOf returns an error of the health check as one line.
func reasonOf(e server.HealthzError) string {
	if _, why, found := strings.Cut(e.Error, "write error: "); found && e.Stream != "" {
		return "stream " + e.Stream + " cannot be written: " + why
	}
	return "nats: " + e.Error
}

// isFull returns an error text if the server refuses writes because it has reached its
// storage limit, which it set at its start to three quarters of the disk, or "".
func isFull(ns *server.Server) string {
	info, err := ns.Jsz(nil)
	if err != nil || info.Config.MaxStore <= 0 || info.Store < uint64(info.Config.MaxStore) {
		return ""
	}
	return fmt.Sprintf("no stream can be written: nats stores %d bytes, its limit is %d, three quarters of the disk", info.Store, info.Config.MaxStore)
}

// roomAt returns how many bytes are free on the disk of a directory. It returns 0 for a
// disk without a free inode.
func roomAt(dir string) (free uint64, known bool) {
	var disk syscall.Statfs_t
	if err := syscall.Statfs(dir, &disk); err != nil {
		return 0, false
	}
	if disk.Files > 0 && disk.Ffree == 0 {
		return 0, true
	}
	return disk.Bavail * uint64(disk.Bsize), true //nolint:gosec // a size
}

// awaitRoom returns when the disk of a directory has enough free space to start, or ctx
// ends. It passes the reason why it waits to waiting.
func awaitRoom(ctx context.Context, dir string, log *slog.Logger, waiting func(string)) error {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for said := false; ; said = true {
		free, known := roomAt(dir)
		if !known || free >= minRoom {
			return nil
		}
		waiting(fmt.Sprintf("the disk is full: %d bytes are free, %d are needed to start", free, minRoom))
		if !said {
			log.Error("the disk is full, waiting for free space", "data", dir, "free", free, "wanted", minRoom)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
