// Package natstest provides NATS for tests: a JetStream server in the process, with its files in
// a directory of the test's, connections to it, links that fail, and what is stored. Only test
// files import it.
//
// Everything works inside a testing/synctest bubble, where waiting takes no real time:
// the server does not listen and leaves no goroutines behind. Call [Prepare] from
// TestMain for that.
package natstest

import (
	"log/slog"
	"net"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"poked/events/stream"
)

// Server is the NATS server of one test. It may be stopped and started again on the same
// files.
type Server struct {
	// Pulse is used for new connections; see [stream.Config].
	Pulse time.Duration

	t      testing.TB
	dir    string
	life   atomic.Pointer[life]
	mapped string // where its subject mapping leads room.*.>, or ""
}

// life is one run of a server, from a start to a stop. It does not name the server's type, which
// every test that is compiled against this package would have to read, with all that it names.
type life struct {
	embedded
	addMapping func(from, to string) error
	began      time.Time
	stopClock  func()
}

// embedded is a NATS server in the process.
type embedded interface {
	InProcessConn() (net.Conn, error)
	Shutdown()
	WaitForShutdown()
}

// StartServer starts a server that ends with the test.
func StartServer(t testing.TB) *Server {
	t.Helper()
	inside := inBubble()
	if before := outside.Swap(!inside); before && inside {
		EmptyPools()
	}
	s := &Server{t: t, dir: t.TempDir()}
	s.Start()
	if inside {
		t.Cleanup(EmptyPools) // after the server and what uses it
	}
	t.Cleanup(s.Stop)
	return s
}

// EmptyPools empties every sync.Pool: nats.go keeps timers in one, and a timer that was
// made inside a bubble must not be used outside of that bubble. It takes two collections to
// empty a pool. A test that starts a server without [StartServer] calls it first.
func EmptyPools() {
	runtime.GC()
	runtime.GC()
}

// outside reports whether the last server was started outside of bubbles.
var outside atomic.Bool //nolint:gochecknoglobals // of the process, as are the pools

// inBubble reports whether the test runs inside a bubble, where time begins in the year
// 2000 ([synctest.Test]).
func inBubble() bool { return time.Now().Year() < 2010 }

// Start starts the server on its files.
func (s *Server) Start() {
	s.t.Helper()
	stopClock := runClock()
	ns, err := server.NewServer(&server.Options{
		ServerName: "test", DontListen: true, JetStream: true, StoreDir: s.dir,
		SyncInterval: time.Hour, // no test simulates a power cut
		NoLog:        true, NoSigs: true,
	})
	if err != nil {
		s.t.Fatalf("new nats server: %v", err)
	}
	ns.Start()
	if !ns.ReadyForConnections(30 * time.Second) {
		s.t.Fatal("nats server does not become ready")
	}
	s.life.Store(&life{embedded: ns, addMapping: ns.GlobalAccount().AddMapping, began: time.Now(), stopClock: stopClock})
	s.addMapping()
}

// settle is how long a server must run inside a bubble before it is stopped. During its
// shutdown it sleeps while holding a lock that the creation of ROOM_STATE's source consumer
// needs; inside a bubble that would be a deadlock.
const settle = time.Second

// Stop stops the server; its files stay.
func (s *Server) Stop() {
	l := s.life.Load()
	if inBubble() {
		<-time.After(settle - time.Since(l.began))
	}
	l.Shutdown()
	l.WaitForShutdown()
	l.stopClock()
}

// Connect returns a connection with the topology set up. It ends with the test.
func (s *Server) Connect(topology stream.Topology) *stream.Conn {
	s.t.Helper()
	return s.connect(s, slog.New(slog.DiscardHandler), topology)
}

func (s *Server) connect(over nats.InProcessConnProvider, log *slog.Logger, topology stream.Topology) *stream.Conn {
	s.t.Helper()
	s.mapRooms(topology)
	conn := s.dial(over, log)
	if err := conn.Setup(s.t.Context(), topology); err != nil {
		s.t.Fatalf("set up: %v", err)
	}
	return conn
}

// Dial returns a connection that ends with the test.
func (s *Server) Dial() *stream.Conn {
	s.t.Helper()
	return s.dial(s, slog.New(slog.DiscardHandler))
}

func (s *Server) dial(over nats.InProcessConnProvider, log *slog.Logger) *stream.Conn {
	s.t.Helper()
	conn, err := stream.Connect(s.t.Context(), stream.Config{
		Name: s.t.Name(), InProcess: over, Log: log, Pulse: s.Pulse,
	})
	if err != nil {
		s.t.Fatalf("connect: %v", err)
	}
	s.t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// Topology is a small one, for tests.
func Topology() stream.Topology { return Streams(stream.Topology{Partitions: 2, Replicas: 1}) }

// InProcessConn connects to the running server without a socket.
func (s *Server) InProcessConn() (net.Conn, error) { return s.life.Load().InProcessConn() }
