package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events/wait"
)

// Setup makes what is missing of the topology and updates what differs, but never lowers
// the number of replicas. Any number of processes may call it at any time. It fails with
// [ErrPartitions] or [ErrStreams] if the streams exist with other counts, with [ErrNotReady]
// if trying again may help, and with a hint if the servers cannot hold the replicas.
func (c *Conn) Setup(ctx context.Context, t Topology) error {
	if t.Partitions < 1 || t.Partitions > MaxPartitions {
		return fmt.Errorf("set up streams: %d partitions, want 1 to %d", t.Partitions, MaxPartitions)
	}
	if keep := t.keep(); keep < ShortestKeep || keep > LongestKeep {
		return fmt.Errorf("set up streams: keep for %v, want %v to %v", keep, ShortestKeep, LongestKeep)
	}
	if t.Streams < 0 || t.Streams > min(MaxStreams, t.Partitions) {
		return fmt.Errorf("set up streams: %d streams, want 1 to %d", t.Streams, min(MaxStreams, t.Partitions))
	}
	s := &setup{c, t}
	if err := s.fit(ctx); err != nil {
		return c.notReady(err)
	}
	made := map[string]jetstream.Stream{}
	for _, cfg := range s.configs() {
		stream, err := s.ensure(ctx, cfg)
		if err != nil {
			return s.failed(cfg.Name, err)
		}
		made[cfg.Name] = stream
	}
	c.use(s.Topology, made)
	return nil
}

// Adopt is [Conn.Setup] for a process that may lack the permission to make streams. It
// changes nothing that exists, and makes what is missing if it may. If it may not, it
// fails with [ErrNotReady] until another process has made it.
func (c *Conn) Adopt(ctx context.Context, asked Topology) error {
	s := &setup{c, asked}
	if err := s.fit(ctx); err != nil {
		return c.notReady(err)
	}
	for _, name := range s.names() {
		_, err := c.askStream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			return c.Setup(ctx, asked) // another process may have made them meanwhile, with its number of streams
		}
		if err != nil {
			return c.notReady(fmt.Errorf("look up stream %s: %w", name, err))
		}
	}
	return c.notReady(c.open(ctx, s.Topology))
}

// Join reads the topology that a registry or a dispatcher has set up, and changes
// nothing. It fails with [ErrNoStreams] if there is none.
func (c *Conn) Join(ctx context.Context) error {
	dead, err := c.LookUp(ctx, Dead) // made last
	if err != nil {
		return err
	}
	t, err := topologyOf(dead.CachedInfo())
	if err != nil {
		return err
	}
	if err := (&setup{c, t}).checkLog(ctx); err != nil {
		return err
	}
	return c.open(ctx, t)
}

// open looks up the streams that are read message by message.
func (c *Conn) open(ctx context.Context, t Topology) error {
	found := map[string]jetstream.Stream{}
	for _, name := range t.read() {
		stream, err := c.LookUp(ctx, name)
		if err != nil {
			return err
		}
		found[name] = stream
	}
	c.use(t, found)
	return nil
}

// read returns the names of the streams that are read message by message.
func (t Topology) read() []string { return append(t.logStreams(), Dead) }

// use records the topology, and of some streams those that are read message by message.
func (c *Conn) use(t Topology, found map[string]jetstream.Stream) {
	c.topology, c.streams = t, map[string]jetstream.Stream{}
	for _, name := range t.read() {
		c.streams[name] = found[name]
	}
}

// setup makes or finds the streams of a topology.
type setup struct {
	conn *Conn
	Topology
}

// fit fills in the number of streams, and fails if the streams exist with another.
func (s *setup) fit(ctx context.Context) error {
	have, err := s.existing(ctx)
	if err != nil {
		return err
	}
	switch {
	case have.Partitions == 0:
		s.Streams = max(s.Streams, 1)
		return nil
	case have.Partitions != s.Partitions:
		return fmt.Errorf("%w: stream %s has \"%d\", asked for %d; set --partitions to the stream's own",
			ErrPartitions, rangeName(Rooms, have.numbers()[0]), have.Partitions, s.Partitions)
	case s.Streams != 0 && s.Streams != have.Streams:
		return fmt.Errorf("%w: it is %d, asked for %d; leave --streams out or set it to %d. To change it, let the dispatchers "+
			"deliver what waits, stop all of poked, delete %v, and start again", ErrStreams, have.Streams, s.Streams, have.Streams, have.logStreams())
	}
	s.Streams = have.Streams
	return s.checkLog(ctx)
}

// existing returns the topology with which the streams were made. Its Partitions are 0 if
// there are none.
func (s *setup) existing(ctx context.Context) (t Topology, err error) {
	for _, name := range []string{Rooms, rangeName(Rooms, 1)} {
		stream, err := s.conn.askStream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return Topology{}, fmt.Errorf("look up stream %s: %w", name, err)
		}
		return topologyOf(stream.CachedInfo())
	}
	return Topology{}, nil
}

// topologyOf reads what the metadata of a stream says of the topology.
func topologyOf(info *jetstream.StreamInfo) (t Topology, err error) {
	meta := info.Config.Metadata
	t.Partitions, err = strconv.Atoi(meta[metaPartitions])
	if err != nil || t.Partitions < 1 || t.Partitions > MaxPartitions {
		return Topology{}, fmt.Errorf("look up stream %s: its partition count is unreadable", info.Config.Name)
	}
	t.Streams = 1
	if text := meta[metaStreams]; text != "" {
		t.Streams, err = strconv.Atoi(text)
		if err != nil || t.Streams < 1 || t.Streams > min(MaxStreams, t.Partitions) {
			return Topology{}, fmt.Errorf("look up stream %s: its number of streams is unreadable", info.Config.Name)
		}
	}
	return t, nil
}

// checkLog refuses a log of an earlier version, which no migration reads.
func (s *setup) checkLog(ctx context.Context) error {
	for _, number := range s.numbers() {
		want := s.notifications(number)
		stream, err := s.conn.askStream(ctx, want.Name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			continue
		}
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", want.Name, err)
		}
		if !slices.Equal(stream.CachedInfo().Config.Subjects, want.Subjects) {
			return fmt.Errorf("%w: deliver what it holds with that version, stop all of poked, delete the stream "+
				"(nats stream rm %s), and start again; pushers and push rules stay", ErrEarlier, want.Name)
		}
	}
	return nil
}

// leastOutcomes is how few bytes of OUTCOMES are reserved before the stream counts as one that
// cannot be made.
const leastOutcomes = 256 << 10

// ensure makes a stream, or updates it if it differs. The server reserves the bytes that OUTCOMES
// may take: on a small disk the stream gets fewer, since it is for operators alone.
func (s *setup) ensure(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	have, err := s.conn.askStream(ctx, cfg.Name)
	apply := s.conn.js.UpdateStream
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		apply = s.conn.js.CreateStream
	case err != nil:
		return nil, err
	default:
		now := have.CachedInfo().Config
		cfg.Replicas = max(cfg.Replicas, now.Replicas) // a process without the flag does not undo another's choice
		if isSame(now, cfg) {
			return have, nil
		}
	}
	for {
		made, err := apply(ctx, cfg)
		if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) && wait.For(ctx, wait.RetryPause) == nil {
			return s.ensure(ctx, cfg) // another process was faster, and wanted another
		}
		var refused *jetstream.APIError
		if cfg.Name != streamOutcomes || !errors.As(err, &refused) || !isTooLarge(refused) || cfg.MaxBytes < 2*leastOutcomes {
			return made, err //nolint:wrapcheck // failed names the stream
		}
		cfg.MaxBytes /= 2
	}
}

// The server's error codes for a stream that reserves more than there is: of one server, and
// of a cluster, where no server has as much.
const (
	errCodeNoStorage jetstream.ErrorCode = 10047
	errCodeNoPeers   jetstream.ErrorCode = 10005
)

func isTooLarge(err *jetstream.APIError) bool {
	return err.ErrorCode == errCodeNoStorage || err.ErrorCode == errCodeNoPeers && !isAway(err)
}

// failed says which stream could not be set up, and what may help.
func (s *setup) failed(name string, err error) error {
	what := "stream " + name
	if bucket, ok := strings.CutPrefix(name, bucketStream("")); ok {
		what = "bucket " + bucket
	}
	if waits := s.conn.notReady(err); errors.Is(waits, ErrNotReady) {
		return fmt.Errorf("set up %s: %w", what, waits)
	}
	var api *jetstream.APIError
	if s.Replicas > 1 && errors.As(err, &api) {
		return fmt.Errorf("set up %s with %d replicas (as many NATS servers with JetStream must be reachable in one cluster): %w",
			what, s.Replicas, err)
	}
	return fmt.Errorf("set up %s: %w", what, err)
}

// ErrNotReady is wrapped by errors about streams that cannot be set up or found yet,
// where trying again may help: NATS is electing a leader, or another process has to make
// them.
var ErrNotReady = errors.New("not ready")

// errCodeUnavailable is the server's error code for a cluster without a leader.
const errCodeUnavailable jetstream.ErrorCode = 10008

// notReady wraps an error in [ErrNotReady] if trying again may help, and otherwise
// returns it as it is. A request that the server did not permit gets no answer: then the
// error names what was not permitted.
func (c *Conn) notReady(err error) error {
	var api *jetstream.APIError
	silent := errors.Is(err, context.DeadlineExceeded) || errors.Is(err, nats.ErrTimeout)
	switch {
	case err == nil:
		return nil
	case silent:
		if denied := c.denied.Swap(nil); denied != nil {
			return fmt.Errorf("%w: %s", ErrNotReady, *denied)
		}
	case errors.Is(err, nats.ErrNoResponders), errors.Is(err, ErrNoStreams),
		errors.Is(err, nats.ErrDisconnected), errors.Is(err, nats.ErrReconnectBufExceeded):
	case errors.As(err, &api) && (api.ErrorCode == errCodeUnavailable || isAway(api)):
	default:
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotReady, err)
}

// isAway reports whether a stream cannot be placed only because a server of the cluster is away,
// and not because there are too few, or these have too little room. The description tells.
func isAway(err *jetstream.APIError) bool {
	return err.ErrorCode == errCodeNoPeers && strings.Contains(err.Description, "offline") && !strings.Contains(err.Description, "storage")
}
