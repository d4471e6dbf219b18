package stream

import (
	"cmp"
	"errors"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
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

// names returns the names of all streams, including those behind the buckets.
func (t Topology) names() (names []string) {
	for _, cfg := range t.streams() {
		names = append(names, cfg.Name)
	}
	for _, cfg := range t.buckets() {
		names = append(names, bucketStream(cfg.Bucket))
	}
	return names
}

// bucketStream returns the name of the stream behind a bucket (NATS ADR-8).
func bucketStream(bucket string) string { return "KV_" + bucket }
