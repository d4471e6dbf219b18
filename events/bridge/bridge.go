// Package bridge brings the room events of any homeserver to poked, without a
// change to the homeserver: it is an application service (Matrix v1.19,
// application service API) in whose namespace all users of the homeserver are.
//
//	homeserver ──PUT transactions/{txnId}──▶ http ──▶ transaction ──▶ one lane for each room
//	    ▲                                                                │ known? ──no──▶ seed
//	    └──GET state, joined_rooms (as a local user)─────────────────────┤◀───────────────┘
//	                                                                     ▼
//	                                            publish.Publisher ──▶ ROOMS: 200 when all is stored
//
// # Guarantees
//
// A transaction is answered with 200 only when NATS has stored all of it: each
// event and receipt, or the dead letter of what cannot be read. The events of a room
// are stored in order, each after the one before it; rooms do not wait for each
// other. One transaction is worked on at a time, once all of its body is there: a body
// that stalls holds up no other. A repetition that comes while the first is still being
// stored waits for it, and the first goes on though its homeserver no longer waits.
//
// An event that comes again is not published again: not because of its transaction
// id, for a homeserver may repeat that with a longer batch, but by its event id. The
// newest ids are remembered; NATS knows those of ten minutes; and of events that are
// older than that, NATS is asked how far their room was stored (repeated.go).
//
// The first event of a room that NATS does not know waits for the room's state,
// which is fetched from the homeserver and published as from before ([events.Seed]).
// Nothing is remembered of that anywhere but in NATS, so whoever dies in between
// leaves nothing to mend, and a backfill that is begun again goes on where it was.
//
// # What fails, and how
//
//   - NATS is away: it is tried for patience, then the answer is 503 and the
//     homeserver comes again.
//   - The homeserver does not tell a room's state: 502, and it comes again. A room
//     whose state cannot be had for statePatience does not hold up the others any
//     longer: its events go through, and its state is asked for later.
//   - Nobody local is in the room, as with an invite from afar: the events go
//     through; the state is fetched when somebody joins.
//   - An event cannot be read, is larger than poked takes, or could not be read by
//     push gateways ([events.CheckJSON]): it becomes a dead letter, and the rest goes
//     on. If it is state, the same without content is stored in its place. A
//     transaction that is not what the specification says is refused whole (400), and
//     its homeserver keeps it.
package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"poked/events/homeserver"
	"poked/events/httpserve"
	"poked/events/publish"
	"poked/events/stream"
)

// Config is what an operator says of a bridge.
type Config struct {
	// HTTP is the address to listen on, host:port; port 0 chooses one.
	HTTP string `kong:"-"`
	// Late is how old an event may be when it arrives and still notify: what is older
	// changes the state of its room and notifies nobody.
	Late time.Duration `name:"bridge-late" placeholder:"DURATION" default:"24h" env:"POKED_BRIDGE_LATE" help:"Events older than this on arrival change room state but notify nobody."`
}

// Validate checks the values; kong calls it.
func (c Config) Validate() error {
	if c.Late <= 0 {
		return errors.New("--bridge-late must be above 0")
	}
	return nil
}

// What is remembered, of which nothing is needed but speed.
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

	bodies chan struct{} // held by each transaction that is in memory
	turn   chan struct{} // held by the transaction that is worked on
	stored *lru.Cache[string, struct{}]
	counts counters
}

// Open binds the listener. Nothing is served before [Bridge.Run]. The topology must
// have been set up on conn.
func Open(ctx context.Context, cfg Config, hs *homeserver.Client, reg *homeserver.Registration, conn *stream.Conn, log *slog.Logger) (*Bridge, error) {
	stored, err := lru.New[string, struct{}](rememberedEvents)
	if err != nil {
		return nil, fmt.Errorf("remember events: %w", err)
	}
	b := &Bridge{
		cfg: cfg, registration: reg, conn: conn, publisher: publish.NewPublisher(conn),
		log: log, bodies: make(chan struct{}, maxBodies), turn: make(chan struct{}, 1), stored: stored,
	}
	if b.seeder, err = newSeeder(hs.Service(reg.ASToken), reg, conn, log, &b.counts); err != nil {
		return nil, err
	}
	if b.listener, err = (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTP); err != nil {
		return nil, fmt.Errorf("listen for the homeserver: %w", err)
	}
	return b, nil
}

// Addr returns the address that HTTP listens on, with the port that was chosen
// for port 0.
func (b *Bridge) Addr() string { return b.listener.Addr().String() }

// Run serves the homeserver until ctx ends. A transaction that is not stored by then
// is not acknowledged.
func (b *Bridge) Run(ctx context.Context) error {
	err := httpserve.Run(ctx, b.listener, httpserve.Config{
		Handler: b.Handler(ctx), MaxConns: maxConns, WriteTimeout: writeTimeout, StopTimeout: stopTimeout, Log: b.log,
	})
	if err != nil {
		return fmt.Errorf("serve the homeserver: %w", err)
	}
	b.log.Info("bridge stopped", "counts", b.Counts())
	return nil
}

// Close closes the listener. It is for after [Bridge.Run], or instead of it.
func (b *Bridge) Close() error {
	if err := b.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop listening: %w", err)
	}
	return nil
}
