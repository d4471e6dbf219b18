package stream

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events/wait"
)

// Topology is the operator's choice for the streams.
type Topology struct {
	Partitions int // 1 to MaxPartitions, fixed once the streams are made
	Replicas   int // 1, 3 or 5; more than one needs a NATS cluster
	// Streams is how many streams share the partitions of ROOMS, ROOM_STATE and NOTIFICATIONS:
	// 1 to MaxStreams, at most Partitions, fixed once the streams are made (ranges.go). 0 means
	// as many as exist, or 1.
	Streams int
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
	Rooms          = "ROOMS"
	RoomState      = "ROOM_STATE"
	streamAccounts = "ACCOUNTS"
	Notifications  = "NOTIFICATIONS"
	streamRejected = "REJECTED"
	Dead           = "DEAD"
	streamOutcomes = "OUTCOMES"

	BucketPushers   = "PUSHERS"
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
	case BucketPushers, bucketPushRules:
		return LongestKeep // it may still matter to a notification
	}
	return 0
}

// gatewayTTL is how long a pause or an absence is kept after its last change: longer than the longest
// pause that a gateway may ask for, and than dispatchers may be away for an absence to go on.
const gatewayTTL = 31 * 24 * time.Hour

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
	var streams []jetstream.StreamConfig
	for _, number := range t.numbers() {
		streams = append(streams, t.rooms(number), t.roomState(number), t.notifications(number))
	}
	streams = append(streams, []jetstream.StreamConfig{
		{
			Name:        streamAccounts,
			Description: "What happens to accounts, as the homeserver publishes it.",
			Subjects:    []string{"account.*.*"},
			Retention:   jetstream.WorkQueuePolicy,
		},
		t.inbox(),
		{
			Name:        streamRejected,
			Description: "Pushkeys that a gateway refused.",
			Subjects:    []string{"rejected.*"},
			Retention:   jetstream.WorkQueuePolicy,
		},
		{
			Name:        Dead,
			Description: "Pokes and messages that will not be tried again, with the reason.",
			Subjects:    []string{"dead.*.*"},
			MaxAge:      14 * 24 * time.Hour,
		},
	}...)
	if t.TraceFor > 0 {
		streams = append(streams, t.outcomes())
	}
	return streams
}

// rooms returns the configuration of the stream ROOMS with a number. The only one transforms
// the subject; of several, each gets what was published with the partition in the subject.
func (t Topology) rooms(number int) jetstream.StreamConfig {
	cfg := jetstream.StreamConfig{
		Name:        rangeName(Rooms, number),
		Description: "Room events and read receipts, as the homeserver publishes them, and the registry's barriers.",
		Subjects:    t.subjects(number, "rooms.", ".>", "room.*.>"),
		FirstSeq:    firstSeq(number),
		MaxAge:      t.keep(),
		Duplicates:  10 * time.Minute,
	}
	if number == 0 {
		cfg.SubjectTransform = &jetstream.SubjectTransformConfig{Source: "room.*.>", Destination: PartitionedRooms(t.Partitions)}
	}
	return cfg
}

// PartitionedRooms returns the subject under which room.*.> is stored, as a destination of
// subject transforms and of account mappings.
func PartitionedRooms(partitions int) string {
	return "rooms.{{partition(" + strconv.Itoa(partitions) + ",1)}}.{{wildcard(1)}}.>"
}

func (t Topology) roomState(number int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:              rangeName(RoomState, number),
		Description:       "The current state of each room; filled by the server from ROOMS.",
		MaxMsgsPerSubject: 1,
		Sources: []*jetstream.StreamSource{{
			Name: rangeName(Rooms, number),
			SubjectTransforms: []jetstream.SubjectTransformConfig{{
				Source:      "rooms.*.*.state.>",
				Destination: "state.{{wildcard(2)}}.>",
			}},
		}},
	}
}

func (t Topology) notifications(number int) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:        rangeName(Notifications, number),
		Description: "What happens to the users of each partition, in order: notifications, what they read, what was redacted.",
		Subjects:    t.subjects(number, "log.", "", logSubjects),
		FirstSeq:    firstSeq(number),
		MaxAge:      t.keep(),
		Duplicates:  time.Second, // readers find repeats, not message ids
	}
}

// metadata returns what each stream says of the topology.
func (t Topology) metadata() map[string]string {
	meta := map[string]string{metaPartitions: strconv.Itoa(t.Partitions)}
	if t.Streams > 1 {
		meta[metaStreams] = strconv.Itoa(t.Streams)
	}
	return meta
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
	t, err := c.fit(ctx, t)
	if err != nil {
		return c.notReady(err)
	}
	made := map[string]jetstream.Stream{}
	for _, cfg := range t.configs() {
		if made[cfg.Name], err = c.ensure(ctx, cfg); err != nil {
			return c.setupError(cfg.Name, t, err)
		}
	}
	c.use(t, made)
	return nil
}

// leastOutcomes is how few bytes of OUTCOMES are reserved before the stream counts as one that
// cannot be made.
const leastOutcomes = 256 << 10

// ensure makes a stream, or updates it if it differs. The server reserves the bytes that OUTCOMES
// may take: on a small disk the stream gets fewer, since it is for operators alone.
func (c *Conn) ensure(ctx context.Context, cfg jetstream.StreamConfig) (jetstream.Stream, error) {
	have, err := c.askStream(ctx, cfg.Name)
	apply := c.js.UpdateStream
	switch {
	case errors.Is(err, jetstream.ErrStreamNotFound):
		apply = c.js.CreateStream
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
			return c.ensure(ctx, cfg) // another process was faster, and wanted another
		}
		var refused *jetstream.APIError
		if cfg.Name != streamOutcomes || !errors.As(err, &refused) || !isTooLarge(refused) || cfg.MaxBytes < 2*leastOutcomes {
			return made, err //nolint:wrapcheck // setupError names the stream
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
	dead, err := c.LookUp(ctx, Dead) // made last
	if err != nil {
		return err
	}
	t, err := topologyOf(dead.CachedInfo())
	if err != nil {
		return err
	}
	if err := c.checkLog(ctx, t); err != nil {
		return err
	}
	return c.open(ctx, t)
}

// Kept returns how long room events and notifications are kept.
func (c *Conn) Kept() time.Duration {
	return c.streams[c.topology.StreamOf(Notifications, 0)].CachedInfo().Config.MaxAge
}

// TrimLogs removes all but the newest messages of each stream of ROOMS and NOTIFICATIONS, as
// their age does in time.
func (c *Conn) TrimLogs(ctx context.Context, keep uint64) error {
	for _, name := range append(c.topology.StreamsOf(Rooms), c.topology.StreamsOf(Notifications)...) {
		if err := c.streams[name].Purge(ctx, jetstream.WithPurgeKeep(keep)); err != nil {
			return fmt.Errorf("trim log: %w", err)
		}
	}
	return nil
}

// StreamEnd returns when a stream was made, and its last sequence.
func (c *Conn) StreamEnd(ctx context.Context, name string) (made time.Time, lastSeq uint64, err error) {
	stream, err := c.askStream(ctx, name)
	if err != nil {
		return time.Time{}, 0, fmt.Errorf("look up stream %s: %w", name, err)
	}
	info := stream.CachedInfo()
	return info.Created, info.State.LastSeq, nil
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

// Stream returns a stream of the log, or [Dead], as it was when the topology was set; nil before.
func (c *Conn) Stream(name string) jetstream.Stream { return c.streams[name] }

// askStream returns a stream, with what the server says of it now.
func (c *Conn) askStream(ctx context.Context, name string) (jetstream.Stream, error) {
	return again(ctx, func(ctx context.Context) (jetstream.Stream, error) { return c.js.Stream(ctx, name) })
}

// LookUp returns a stream, with what the server says of it now. The error wraps [ErrNoStreams] if
// there is none.
func (c *Conn) LookUp(ctx context.Context, name string) (jetstream.Stream, error) {
	stream, err := c.askStream(ctx, name)
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		err = ErrNoStreams
	}
	if err != nil {
		return nil, fmt.Errorf("look up stream %s: %w", name, err)
	}
	return stream, nil
}

// checkLog refuses a log of an earlier version, which no migration reads.
func (c *Conn) checkLog(ctx context.Context, t Topology) error {
	for _, number := range t.numbers() {
		want := t.notifications(number)
		stream, err := c.askStream(ctx, want.Name)
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

func (c *Conn) setupError(name string, t Topology, err error) error {
	what := "stream " + name
	if bucket, ok := strings.CutPrefix(name, bucketStream("")); ok {
		what = "bucket " + bucket
	}
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
