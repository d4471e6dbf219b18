// Package bridge publishes the room events of any homeserver to poked, without a change
// to the homeserver. It is an application service (Matrix v1.19, application service API)
// whose namespace contains all users of the homeserver.
//
//	homeserver ──PUT transactions/{txnId}──▶ http ──▶ transaction ──▶ one lane for each room
//	    ▲                                                                │ known? ──no──▶ seed
//	    └──GET state, joined_rooms (as a local user)─────────────────────┤◀───────────────┘
//	                                                                     ▼
//	                                            publish.Publisher ──▶ ROOMS: 200 when all is stored
//
// # Guarantees
//
// A transaction is answered with 200 only after NATS has stored all of it: each event and
// receipt, or a dead letter for what cannot be parsed. The events of a room are stored in
// order; rooms are stored in parallel. One transaction is processed at a time, after its
// whole body has arrived, so a stalled body does not delay others. A repetition of a
// transaction that is still being stored waits for the first, which continues even if the
// homeserver has disconnected.
//
// A repeated event is not published again. It is recognised by its event id and not by
// the transaction id, since a homeserver may repeat that with a longer batch. The bridge
// keeps the newest ids in memory, NATS keeps those of the last ten minutes, and for older
// events the bridge reads from NATS how far their room was stored (repeated.go).
//
// The first event of a room that is new to NATS waits until the room's state is fetched
// from the homeserver and published as historical ([events.Seed]). That fact is recorded
// only in NATS, so a crash in between needs no repair, and a repeated backfill continues
// where it stopped.
//
// A homeserver sends nothing of a room that no local user is in. So when a local user joins,
// and it is possible that none was there before, the room's state is fetched again
// (away.go). ROOMS itself says so: then the last event before the join is a local user's leave,
// or too old to be there.
//
// When a local user joins a room that replaces another, the homeserver copies push rules
// from the old room: before it stores the join, the bridge publishes that the registry
// fetches them again.
//
// # What fails, and how
//
//   - The homeserver does not know the as_token: a warning, and not ready. It is asked at
//     the start, and again every few seconds until it does.
//   - NATS is away: the bridge retries for patience and then answers 503; the homeserver
//     sends the transaction again.
//   - The homeserver does not return a room's state: 502, and the homeserver sends the
//     transaction again. After statePatience the room's events are stored without its
//     state, so that they no longer delay other rooms, and the state is fetched later.
//   - No local user is in the room, as with an invite from another server: the events are
//     stored; the state is fetched when a local user joins.
//   - An event cannot be parsed, exceeds a size limit, or has JSON that push gateways
//     could not read ([events.CheckJSON]): it becomes a dead letter, and the rest is
//     stored. If it is a state event, it is stored without content. A transaction that
//     violates the specification is refused as a whole (400); the homeserver keeps it.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/errgroup"

	"poked/events"
	"poked/events/homeserver"
	"poked/events/httpserve"
	"poked/events/publish"
	"poked/events/stream"
)

// Config is the operator's configuration of a bridge.
type Config struct {
	// HTTP is the address to listen on, host:port; port 0 chooses one.
	HTTP string `kong:"-"`
	// Late is the maximum age at which an event still notifies. An older one only changes
	// the state of its room.
	Late time.Duration `name:"bridge-late" placeholder:"DURATION" default:"24h" env:"POKED_BRIDGE_LATE" help:"Events older than this on arrival change room state but notify nobody."`
}

// Validate checks the values; kong calls it.
func (c Config) Validate() error {
	if c.Late <= 0 {
		return errors.New("--bridge-late must be above 0")
	}
	return nil
}

// Sizes of the caches. They save requests to NATS; nothing depends on them.
const (
	rememberedEvents = 1 << 16
	rememberedRooms  = 1 << 16
)

// Limits of the HTTP server, beside those of package httpserve. A transaction may take
// longer than writeTimeout to be stored: its answer has that time for itself.
const (
	maxConns     = 64
	writeTimeout = 30 * time.Second
	stopTimeout  = 10 * time.Second
)

// Bridge is a running application service; [Open] makes one.
type Bridge struct {
	cfg          Config
	registration *homeserver.Registration
	seeder       *seeder
	conn         *stream.Conn
	publisher    *publish.Publisher
	listener     net.Listener
	log          *slog.Logger

	bodies chan struct{} // semaphore of transactions in memory
	turn   chan struct{} // semaphore of the transaction being stored
	stored *lru.Cache[string, struct{}]
	// replaces has, of rooms with a known m.room.create, whether they replace another.
	replaces *lru.Cache[events.RoomID, bool]
	counts   counters
}

// Open binds the listener. Connections wait until [Bridge.Run] serves them. The topology
// must have been set up on conn.
func Open(ctx context.Context, cfg Config, hs *homeserver.Client, reg *homeserver.Registration, conn *stream.Conn, log *slog.Logger) (*Bridge, error) {
	stored, err := lru.New[string, struct{}](rememberedEvents)
	if err != nil {
		return nil, fmt.Errorf("remember events: %w", err)
	}
	replaces, err := lru.New[events.RoomID, bool](rememberedRooms)
	if err != nil {
		return nil, fmt.Errorf("remember rooms: %w", err)
	}
	b := &Bridge{
		cfg: cfg, registration: reg, conn: conn, publisher: publish.NewPublisher(conn),
		log: log, bodies: make(chan struct{}, maxBodies), turn: make(chan struct{}, 1), stored: stored, replaces: replaces,
	}
	if b.seeder, err = newSeeder(hs.Service(reg.ASToken), reg, conn, log, &b.counts); err != nil {
		return nil, err
	}
	if b.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTP); err != nil {
		return nil, fmt.Errorf("listen for the homeserver: %w", err)
	}
	return b, nil
}

// Addr returns the HTTP listener's address, with the actual port.
func (b *Bridge) Addr() string { return b.listener.Addr().String() }

// Run serves the homeserver until ctx ends. A transaction that is not stored by then
// is not acknowledged.
func (b *Bridge) Run(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error {
		return httpserve.Run(ctx, b.listener, httpserve.Config{
			Handler: b.Handler(ctx), MaxConns: maxConns, WriteTimeout: writeTimeout, StopTimeout: stopTimeout, Log: b.log,
		})
	})
	group.Go(func() error {
		b.seeder.registered.Run(ctx)
		return nil
	})
	if err := group.Wait(); err != nil {
		return fmt.Errorf("serve the homeserver: %w", err)
	}
	b.log.Info("bridge stopped", "counts", b.Counts())
	return nil
}

// Close closes the listener. Call it after [Bridge.Run], or instead of it.
func (b *Bridge) Close() error {
	if err := b.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop listening: %w", err)
	}
	return nil
}
