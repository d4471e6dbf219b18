package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"

	"poked/events/httpserve"
)

// natsStart is how long the embedded server may take to listen once its files
// are recovered.
const natsStart = 10 * time.Second

// natsConns is the maximum number of connections to the embedded server, if the limit of
// open files allows it.
const natsConns = 1024

// NATSOptions configure the embedded NATS server.
type NATSOptions struct {
	Dir    string    // directory of its files
	Listen string    // address for others to connect to; empty: this process only
	Sync   FsyncFlag // how soon a write is synced to disk
	Log    *slog.Logger
}

// EmbeddedNATS is a NATS server with JetStream inside this process. It does not name the server's
// type: whatever is compiled against this package would read that, with all that it names.
type EmbeddedNATS struct {
	embedded // for in-process connections

	Listens bool
	log     *natsLog
	// ask returns why the server says that it is not well, mapRooms adds a subject mapping to its
	// account.
	ask      func() []string
	mapRooms func(to string) error
}

// embedded is a [server.Server].
type embedded interface {
	InProcessConn() (net.Conn, error)
	Addr() net.Addr
	Running() bool
	JetStreamEnabled() bool
	DisableJetStream() error
	Shutdown()
	WaitForShutdown()
}

// StartNATS starts a server and returns when it accepts connections.
func StartNATS(options NATSOptions) (*EmbeddedNATS, error) {
	settings := &server.Options{
		ServerName: "poked",
		JetStream:  true,
		StoreDir:   options.Dir,
		SyncAlways: options.Sync.Always, SyncInterval: options.Sync.Interval,
		DontListen: options.Listen == "",
		MaxConn:    httpserve.Connections(natsConns),
		NoSigs:     true, // main handles signals
	}
	if options.Listen != "" {
		if err := setListen(settings, options.Listen); err != nil {
			return nil, err
		}
	}
	return RunNATS(settings, options.Log)
}

// RunNATS starts a server with settings and returns when it accepts connections.
func RunNATS(settings *server.Options, logger *slog.Logger) (*EmbeddedNATS, error) {
	ns, err := server.NewServer(settings)
	if err != nil {
		return nil, fmt.Errorf("start embedded nats: %w", err)
	}
	log := &natsLog{log: logger.With("part", "nats")}
	ns.SetLoggerV2(log, false, false, false)
	ns.Start()
	if err := log.fatalError(); err != nil {
		ns.Shutdown()
		return nil, fmt.Errorf("start embedded nats: %w", err)
	}
	if !ns.ReadyForConnections(natsStart) {
		ns.Shutdown()
		return nil, fmt.Errorf("start embedded nats: not ready after %s", natsStart)
	}
	return &EmbeddedNATS{
		embedded: ns, Listens: !settings.DontListen, log: log,
		ask:      func() []string { return complaintsOf(ns) },
		mapRooms: func(to string) error { return ns.GlobalAccount().AddMapping("room.*.>", to) },
	}, nil
}

func setListen(settings *server.Options, addr string) error {
	host, port, err := SplitAddr(addr)
	if err != nil {
		return err
	}
	if port == 0 {
		port = server.RANDOM_PORT // 0 would mean the default port here
	}
	settings.Host, settings.Port = host, port
	return nil
}

// Where returns the address of the server for the ready line.
func (e *EmbeddedNATS) Where() string {
	if !e.Listens {
		return "in process"
	}
	return e.Addr().String()
}

// Watch fails as soon as the server has shut down or disabled JetStream, for example
// because a disk failed; the server itself reports neither. The further checks of natsWatch
// do not apply to one server of a cluster.
func (e *EmbeddedNATS) Watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		if err := e.gaveUp(); err != nil {
			return err
		}
	}
}

// gaveUp returns an error if the server has shut down or disabled JetStream.
func (e *EmbeddedNATS) gaveUp() error {
	if !e.Running() || !e.JetStreamEnabled() {
		return errors.New("the embedded nats server has stopped; see its log lines for the reason")
	}
	return nil
}

// Stop flushes to disk and ends the server.
func (e *EmbeddedNATS) Stop() {
	e.Shutdown()
	e.WaitForShutdown()
}

// FsyncFlag is when the embedded NATS syncs a write to disk: always before it acknowledges
// the write, or at most an interval later.
type FsyncFlag struct {
	Always   bool
	Interval time.Duration // between syncs; 0 is the server's default
}

// minFsync is the shortest interval. A disk cannot sync much more often, and Always is the
// better choice then.
const minFsync = 10 * time.Millisecond

// UnmarshalText reads "always" or a duration.
func (f *FsyncFlag) UnmarshalText(text []byte) error {
	if string(text) == "always" {
		*f = FsyncFlag{Always: true}
		return nil
	}
	interval, err := time.ParseDuration(string(text))
	if err != nil || interval < minFsync {
		return errors.New("must be \"always\" or a duration of at least " + minFsync.String())
	}
	*f = FsyncFlag{Interval: interval}
	return nil
}

// String is the inverse of UnmarshalText.
func (f FsyncFlag) String() string {
	if f.Always {
		return "always"
	}
	return f.Interval.String()
}

// natsLog forwards warnings and errors from the log of the server. They contain subjects,
// in which ids are encoded, and never message bodies.
type natsLog struct {
	log *slog.Logger

	mu    sync.Mutex
	fatal error
}

func (l *natsLog) fatalError() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.fatal
}

// Fatalf keeps the first message. The server keeps running after it, but may not work.
func (l *natsLog) Fatalf(format string, args ...any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fatal == nil {
		l.fatal = fmt.Errorf(format, args...)
	}
}

// Errorf forwards an error.
func (l *natsLog) Errorf(format string, args ...any) {
	l.log.Error("nats server reports an error", "error", fmt.Sprintf(format, args...))
}

// Warnf forwards a warning.
func (l *natsLog) Warnf(format string, args ...any) {
	l.log.Warn("nats server warns", "warning", fmt.Sprintf(format, args...))
}

// Noticef drops notices, which do not help an operator of poked.
func (*natsLog) Noticef(string, ...any) {}

// Debugf is never called: debugging is off.
func (*natsLog) Debugf(string, ...any) {}

// Tracef is never called: tracing is off.
func (*natsLog) Tracef(string, ...any) {}
