package stream

import (
	"cmp"
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
	// Keep is how long room events and notifications are kept; 0 means DefaultKeep.
	Keep time.Duration
}

// Limits and defaults of a [Topology].
const (
	DefaultPartitions = 16
	MaxPartitions     = 1024

	DefaultKeep  = 72 * time.Hour
	ShortestKeep = 24 * time.Hour
	LongestKeep  = 7 * 24 * time.Hour
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
	bucketInbox     = "INBOX"
	BucketPositions = "POSITIONS"
	BucketWorkers   = "WORKERS"
	bucketGateways  = "GATEWAYS"
	bucketVAPID     = "VAPID"
)

// metaPartitions is the metadata key of a stream's partition count.
const metaPartitions = "poked_partitions"

// WorkerTTL is how long a dispatcher counts as alive after its last heartbeat.
const WorkerTTL = 5 * time.Second

// markerTTL is how long the bucket BACKLOG keeps the marker of a deleted key.
const markerTTL = time.Minute

// markerTTLOf returns how long a bucket keeps the marker of a deleted key; 0 means for
// ever.
func markerTTLOf(bucket string) time.Duration {
	switch bucket {
	case bucketBacklog:
		return markerTTL
	case bucketPushers, bucketPushRules:
		return LongestKeep // it may still matter to a notification
	}
	return 0
}

// pauseTTL is how long a pause is kept: longer than the longest that a gateway may ask
// for.
const pauseTTL = 2 * time.Hour

// ErrPartitions is wrapped by the error about streams that were made with another
// partition count.
var ErrPartitions = errors.New("partition count differs from the one the streams were made with")

// logSubjects is the subject of NOTIFICATIONS.
const logSubjects = "log.*"

// inboxGrace is how much longer than a notification its snapshot is kept.
const inboxGrace = time.Hour

func (t Topology) keep() time.Duration { return cmp.Or(t.Keep, DefaultKeep) }

// ErrEarlier is wrapped by the error about streams of an earlier version of poked.
var ErrEarlier = errors.New("the stream NOTIFICATIONS is that of an earlier version of poked")

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
			MaxAge:     t.keep(),
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
			Description: "What happens to the users of each partition, in order: notifications, what they read, what was redacted.",
			Subjects:    []string{logSubjects},
			MaxAge:      t.keep(),
			Duplicates:  time.Second, // readers find repeats, not message ids
		},
		t.inbox(),
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
		streams = append(streams, t.outcomes())
	}
	return streams
}

// inbox returns the configuration of the stream behind the bucket INBOX, which no ordinary
// bucket can have.
func (t Topology) inbox() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:               bucketStream(bucketInbox),
		Description:        "What users have not read, as snapshots: <part>.<user>.<room>, and up to where they go, position.<part>.",
		Subjects:           []string{kvSubject(bucketInbox, ">")},
		MaxMsgsPerSubject:  2, // a power cut may take the newest
		MaxAge:             t.keep() + inboxGrace,
		Discard:            jetstream.DiscardNew,
		AllowRollup:        true, // as each bucket
		DenyDelete:         true,
		AllowAtomicPublish: true,
	}
}

func (t Topology) outcomes() jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        streamOutcomes,
		Description: "What became of pokes, for operators: attempts of one partition, JSON lines compressed with S2.",
		Subjects:    []string{"outcome.*"},
		MaxAge:      t.TraceFor,
		MaxBytes:    t.TraceBytes,
	}
}

// buckets returns the configuration of every key-value bucket.
func (t Topology) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: bucketPushers, Description: "All pushers of a user: <part>.<user>.", LimitMarkerTTL: LongestKeep},
		{Bucket: bucketPushRules, Description: "A user's changes to the predefined push rules: <part>.<user>.", LimitMarkerTTL: LongestKeep},
		{Bucket: bucketBacklog, Description: "Pushers that lag: <part>.<pusher>.", LimitMarkerTTL: markerTTL},
		{Bucket: BucketPositions, Description: "How far each partition is processed, <stage>.<part>, and its owner, part.<part>."},
		{Bucket: BucketWorkers, Description: "Live dispatchers: worker.<id>.", TTL: WorkerTTL},
		{Bucket: bucketGateways, Description: "Pauses that push gateways asked for (Retry-After): paused.<origin>.", TTL: pauseTTL},
		{Bucket: bucketVAPID, Description: "The key by which push services of browsers know poked: key. Private."},
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
	if keep := t.keep(); keep < ShortestKeep || keep > LongestKeep {
		return fmt.Errorf("set up streams: keep for %v, want %v to %v", keep, ShortestKeep, LongestKeep)
	}
	if err := c.checkPartitions(ctx, t.Partitions); err != nil {
		return c.notReady(err)
	}
	for _, cfg := range t.streams() {
		cfg.Replicas = c.replicas(ctx, cfg.Name, t.Replicas)
		cfg.Storage = jetstream.FileStorage
		cfg.AllowDirect = true
		cfg.Metadata = map[string]string{metaPartitions: strconv.Itoa(t.Partitions)}
		if err := c.makeStream(ctx, cfg); err != nil {
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

// leastOutcomes is how few bytes of OUTCOMES are reserved before the stream counts as one that
// cannot be made.
const leastOutcomes = 256 << 10

// makeStream makes a stream or updates it. The server reserves the bytes that OUTCOMES may take: on
// a small disk the stream gets fewer, since it is for operators alone.
func (c *Conn) makeStream(ctx context.Context, cfg jetstream.StreamConfig) error {
	for {
		_, err := c.js.CreateOrUpdateStream(ctx, cfg)
		var refused *jetstream.APIError
		if cfg.Name != streamOutcomes || !errors.As(err, &refused) || !isTooLarge(refused) || cfg.MaxBytes < 2*leastOutcomes {
			return err //nolint:wrapcheck // setupError names the stream
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
	return err.ErrorCode == errCodeNoStorage || err.ErrorCode == errCodeNoPeers
}

// Join reads the topology that a registry or a dispatcher has set up, and changes
// nothing. It fails with [ErrNoStreams] if there is none.
func (c *Conn) Join(ctx context.Context) error {
	if err := c.open(ctx); err != nil {
		return err
	}
	if err := c.checkLog(ctx); err != nil {
		return err
	}
	parts, err := strconv.Atoi(c.dead.CachedInfo().Config.Metadata[metaPartitions])
	if err != nil || parts < 1 || parts > MaxPartitions {
		return fmt.Errorf("look up stream %s: its partition count is unreadable", streamDead)
	}
	c.partitions = parts
	return nil
}

// Kept returns how long room events and notifications are kept.
func (c *Conn) Kept() time.Duration { return c.notifications.CachedInfo().Config.MaxAge }

// LogBegin returns the first sequence that NOTIFICATIONS still has: what is older has
// expired.
func (c *Conn) LogBegin(ctx context.Context) (uint64, error) {
	info, err := c.notifications.Info(ctx)
	if err != nil {
		return 0, fmt.Errorf("look up stream %s: %w", Notifications, err)
	}
	return info.State.FirstSeq, nil
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
	return c.checkLog(ctx)
}

// checkLog refuses a log of an earlier version, which no migration reads.
func (c *Conn) checkLog(ctx context.Context) error {
	stream, err := c.js.Stream(ctx, Notifications)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up stream %s: %w", Notifications, err)
	}
	if subjects := stream.CachedInfo().Config.Subjects; len(subjects) != 1 || subjects[0] != logSubjects {
		return fmt.Errorf("%w: deliver what it holds with that version, stop all of poked, delete the stream "+
			"(nats stream rm NOTIFICATIONS), and start again; pushers and push rules stay", ErrEarlier)
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
