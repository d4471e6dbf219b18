package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// Topology is the operator's choice for the streams.
type Topology struct {
	Partitions int // 1 to MaxPartitions, fixed once the streams are made
	Replicas   int // 1, 3 or 5; more than one needs a NATS cluster
	// TraceFor is how long OUTCOMES keeps what became of pokes, and TraceBytes how many bytes
	// of it at most. With 0 there is no such stream, and nothing is recorded.
	TraceFor   time.Duration
	TraceBytes int64
}

// Limits and defaults of a [Topology].
const (
	DefaultPartitions = 16
	MaxPartitions     = 1024
)

// The names of the streams and buckets. [Topology.streams] and [Topology.buckets] configure
// them.
const (
	Rooms           = "ROOMS"
	streamRoomState = "ROOM_STATE"
	streamAccounts  = "ACCOUNTS"
	Notifications   = "NOTIFICATIONS"
	streamRejected  = "REJECTED"
	streamDead      = "DEAD"
	streamOutcomes  = "OUTCOMES"

	bucketPushers   = "PUSHERS"
	bucketPushRules = "PUSH_RULES"
	bucketBacklog   = "BACKLOG"
	BucketPositions = "POSITIONS"
	BucketWorkers   = "WORKERS"
	bucketGateways  = "GATEWAYS"
)

// metaPartitions is the metadata key of a stream's partition count.
const metaPartitions = "poked_partitions"

// WorkerTTL is how long a dispatcher counts as alive after its last heartbeat.
const WorkerTTL = 5 * time.Second

// markerTTL is how long the bucket BACKLOG keeps the marker of a deleted key.
const markerTTL = time.Minute

// NotificationsKept is how long NOTIFICATIONS keeps a notification that is not read. The
// buckets of pushers and push rules keep the marker of a deleted key for as long, since
// it may still matter to such a notification.
const NotificationsKept = 7 * 24 * time.Hour

// markerTTLOf returns how long a bucket keeps the marker of a deleted key; 0 means for
// ever.
func markerTTLOf(bucket string) time.Duration {
	switch bucket {
	case bucketBacklog:
		return markerTTL
	case bucketPushers, bucketPushRules:
		return NotificationsKept
	}
	return 0
}

// pauseTTL is how long a pause is kept: longer than the longest that a gateway may ask
// for.
const pauseTTL = 2 * time.Hour

// ErrPartitions is wrapped by the error about streams that were made with another
// partition count.
var ErrPartitions = errors.New("partition count differs from the one the streams were made with")

// streams returns the configuration of every stream.
func (t Topology) streams() []jetstream.StreamConfig {
	parts := strconv.Itoa(t.Partitions)
	streams := []jetstream.StreamConfig{
		{
			Name:        Rooms,
			Description: "Room events and read receipts, as the homeserver publishes them, and the registry's barriers.",
			Subjects:    []string{"room.*.>"},
			SubjectTransform: &jetstream.SubjectTransformConfig{
				Source:      "room.*.>",
				Destination: "rooms.{{partition(" + parts + ",1)}}.{{wildcard(1)}}.>",
			},
			MaxAge:     72 * time.Hour,
			Duplicates: 10 * time.Minute,
		},
		{
			Name:              streamRoomState,
			Description:       "The current state of each room; filled by the server from ROOMS.",
			MaxMsgsPerSubject: 1,
			Sources: []*jetstream.StreamSource{{
				Name: Rooms,
				SubjectTransforms: []jetstream.SubjectTransformConfig{{
					Source:      "rooms.*.*.state.>",
					Destination: "state.{{wildcard(2)}}.>",
				}},
			}},
		},
		{
			Name:        streamAccounts,
			Description: "What happens to accounts, as the homeserver publishes it.",
			Subjects:    []string{"account.*.*"},
			Retention:   jetstream.WorkQueuePolicy,
		},
		{
			Name:        Notifications,
			Description: "What each user has been notified of and has not read, and how far they have read.",
			Subjects:    []string{"notify.*.*.*.*", "read.*.*.*.*", "redacted.*.*.*"},
			MaxAge:      NotificationsKept,
			Duplicates:  time.Second, // repeats are found in the log, not by message id
			AllowRollup: true,        // of what a user has read the newest is kept
		},
		{
			Name:        streamRejected,
			Description: "Pushkeys that a gateway refused.",
			Subjects:    []string{"rejected.*"},
			Retention:   jetstream.WorkQueuePolicy,
		},
		{
			Name:        streamDead,
			Description: "Pokes and messages that will not be tried again, with the reason.",
			Subjects:    []string{"dead.*.*"},
			MaxAge:      14 * 24 * time.Hour,
		},
	}
	if t.TraceFor > 0 {
		streams = append(streams, jetstream.StreamConfig{
			Name:        streamOutcomes,
			Description: "What became of pokes, for operators: attempts of one partition, JSON lines compressed with S2.",
			Subjects:    []string{"outcome.*"},
			MaxAge:      t.TraceFor,
			MaxBytes:    t.TraceBytes,
		})
	}
	return streams
}

// buckets returns the configuration of every key-value bucket.
func (t Topology) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: bucketPushers, Description: "All pushers of a user: <part>.<user>.", LimitMarkerTTL: NotificationsKept},
		{Bucket: bucketPushRules, Description: "A user's changes to the predefined push rules: <part>.<user>.", LimitMarkerTTL: NotificationsKept},
		{Bucket: bucketBacklog, Description: "Pushers that lag: <part>.<pusher>.", LimitMarkerTTL: markerTTL},
		{Bucket: BucketPositions, Description: "How far each partition is processed, <stage>.<part>, and its owner, part.<part>."},
		{Bucket: BucketWorkers, Description: "Live dispatchers: worker.<id>.", TTL: WorkerTTL},
		{Bucket: bucketGateways, Description: "Pauses that push gateways asked for (Retry-After): paused.<origin>.", TTL: pauseTTL},
	}
}

// Setup makes what is missing of the topology and updates what differs, but never lowers
// the number of replicas. Any number of processes may call it at any time. It fails with
// [ErrPartitions] if the streams exist with another partition count, with [ErrNotReady]
// if trying again may help, and with a hint if the servers cannot hold the replicas.
func (c *Conn) Setup(ctx context.Context, t Topology) error {
	if t.Partitions < 1 || t.Partitions > MaxPartitions {
		return fmt.Errorf("set up streams: %d partitions, want 1 to %d", t.Partitions, MaxPartitions)
	}
	if err := c.checkPartitions(ctx, t.Partitions); err != nil {
		return c.notReady(err)
	}
	for _, cfg := range t.streams() {
		cfg.Replicas = c.replicas(ctx, cfg.Name, t.Replicas)
		cfg.Storage = jetstream.FileStorage
		cfg.AllowDirect = true
		cfg.Metadata = map[string]string{metaPartitions: strconv.Itoa(t.Partitions)}
		if _, err := c.js.CreateOrUpdateStream(ctx, cfg); err != nil {
			return c.setupError("stream "+cfg.Name, t, err)
		}
	}
	for _, cfg := range t.buckets() {
		cfg.Replicas = c.replicas(ctx, bucketStream(cfg.Bucket), t.Replicas)
		cfg.Storage = jetstream.FileStorage
		cfg.History = 1
		if _, err := c.js.CreateOrUpdateKeyValue(ctx, cfg); err != nil {
			return c.setupError("bucket "+cfg.Bucket, t, err)
		}
	}
	c.partitions, c.traces = t.Partitions, t.TraceFor > 0
	return c.notReady(c.open(ctx))
}

// Join reads the topology that a registry or a dispatcher has set up, and changes
// nothing. It fails with [ErrNoStreams] if there is none.
func (c *Conn) Join(ctx context.Context) error {
	if err := c.open(ctx); err != nil {
		return err
	}
	parts, err := strconv.Atoi(c.dead.CachedInfo().Config.Metadata[metaPartitions])
	if err != nil || parts < 1 || parts > MaxPartitions {
		return fmt.Errorf("look up stream %s: its partition count is unreadable", streamDead)
	}
	c.partitions = parts
	return nil
}

// StreamEnd returns when a stream was made, and its last sequence.
func (c *Conn) StreamEnd(ctx context.Context, name string) (made time.Time, lastSeq uint64, err error) {
	stream, err := c.js.Stream(ctx, name)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	return info.Created, info.State.LastSeq, nil
}

// open looks up the streams that are read message by message.
func (c *Conn) open(ctx context.Context) (err error) {
	for name, stream := range map[string]*jetstream.Stream{
		Rooms: &c.rooms, Notifications: &c.notifications, streamDead: &c.dead,
	} {
		*stream, err = c.js.Stream(ctx, name)
		if errors.Is(err, jetstream.ErrStreamNotFound) {
			err = ErrNoStreams
		}
		if err != nil {
			return fmt.Errorf("look up stream %s: %w", name, err)
		}
	}
	return nil
}

// replicas returns the number of replicas for a stream: never less than it has, so that a
// process started without the flag does not undo another's choice.
func (c *Conn) replicas(ctx context.Context, stream string, want int) int {
	have, err := c.js.Stream(ctx, stream)
	if err != nil {
		return want // it does not exist yet, or Setup reports the error
	}
	return max(have.CachedInfo().Config.Replicas, want)
}

func (c *Conn) checkPartitions(ctx context.Context, want int) error {
	stream, err := c.js.Stream(ctx, Rooms)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", Rooms, err)
	}
	have := stream.CachedInfo().Config.Metadata[metaPartitions]
	if have != strconv.Itoa(want) {
		return fmt.Errorf("%w: stream %s has %q, asked for %d; set --partitions to the stream's own",
			ErrPartitions, Rooms, have, want)
	}
	return nil
}

func (c *Conn) setupError(what string, t Topology, err error) error {
	if waits := c.notReady(err); errors.Is(waits, ErrNotReady) {
		return fmt.Errorf("set up %s: %w", what, waits)
	}
	var api *jetstream.APIError
	if t.Replicas > 1 && errors.As(err, &api) {
		return fmt.Errorf("set up %s with %d replicas (as many NATS servers with JetStream must be reachable in one cluster): %w",
			what, t.Replicas, err)
	}
	return fmt.Errorf("set up %s: %w", what, err)
}

// ErrNotReady is wrapped by errors about streams that cannot be set up or found yet,
// where trying again may help: NATS is electing a leader, or another process has to make
// them.
var ErrNotReady = errors.New("not ready")
