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

// A NATS server that could not write, because a disk is full or there is no file
// descriptor, keeps the error for good: that stream refuses every write until the
// server is started anew, and the server goes on as if all were well. Only its own
// health check knows; or, where state is copied from one stream to another, JetStream
// ends while the server goes on. So the check is asked here, /readyz repeats what it says, and
// when it stays wrong the process ends, for a supervisor to start it anew. While the
// disk is full a new process could do no better: then this one waits until there is
// room, not ready, and one that starts waits as well.

const (
	healthInterval = time.Second
	// healthPatience is how long the server may be unhealthy before the process ends.
	healthPatience = 10 * time.Second
	// minRoom is how much of a disk has to be free to begin, in bytes: what the server
	// and the database need to come up and to write for a moment.
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

// run watches until ctx ends. It fails when the server cannot do its work and a restart
// would help.
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
			why += fmt.Sprintf("; the disk has %d bytes left, of %d that are wanted before a restart", free, minRoom)
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
	// Without a file descriptor the health check sees no stream, and nothing wrong.
	files, err := os.Open(w.dir)
	if err != nil {
		return "nothing can be written: " + err.Error()
	}
	defer func() { _ = files.Close() }() // nothing was done with it
	var reasons []string
	health := w.nats.Healthz(&server.HealthzOptions{Details: true})
	for _, e := range health.Errors {
		reasons = append(reasons, reasonOf(e))
	}
	if health.Error != "" {
		reasons = append(reasons, "nats: "+health.Error)
	}
	if full := w.isFull(); full != "" {
		reasons = append(reasons, full)
	}
	return strings.Join(reasons, "\n")
}

// reasonOf returns an error of the health check in a line.
func reasonOf(e server.HealthzError) string {
	if _, why, found := strings.Cut(e.Error, "write error: "); found && e.Stream != "" {
		return "stream " + e.Stream + " cannot be written: " + why
	}
	return "nats: " + e.Error
}

// isFull reports that the server refuses writes because it stores as much as it took
// for its limit when it began: three quarters of what the disk had.
func (w *natsWatch) isFull() string {
	info, err := w.nats.Jsz(nil)
	if err != nil || info.Config.MaxStore <= 0 || info.Store < uint64(info.Config.MaxStore) {
		return ""
	}
	return fmt.Sprintf("no stream can be written: nats stores %d bytes, and may store %d, three quarters of the disk", info.Store, info.Config.MaxStore)
}

// roomAt returns how many bytes a directory's disk has left for us. A disk without a
// file name left has none.
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

// awaitRoom returns when a directory's disk has room to begin, or ctx ends. waiting
// hears what it waits for.
func awaitRoom(ctx context.Context, dir string, log *slog.Logger, waiting func(string)) error {
	tick := time.NewTicker(healthInterval)
	defer tick.Stop()
	for said := false; ; said = true {
		free, known := roomAt(dir)
		if !known || free >= minRoom {
			return nil
		}
		waiting(fmt.Sprintf("the disk is full: %d bytes are left, of %d that are wanted to begin", free, minRoom))
		if !said {
			log.Error("the disk is full, waiting for room to begin", "data", dir, "free", free, "wanted", minRoom)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
