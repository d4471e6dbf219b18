package stream

import (
	"cmp"
	"maps"
	"reflect"
	"strings"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// buckets returns the configuration of every key-value bucket.
func (t Topology) buckets() []jetstream.KeyValueConfig {
	return []jetstream.KeyValueConfig{
		{Bucket: BucketPushers, Description: "All pushers of a user: <part>.<user>.", LimitMarkerTTL: LongestKeep},
		{Bucket: bucketPushRules, Description: "A user's changes to the predefined push rules, <part>.<user>, and what is offered to all, offered.", LimitMarkerTTL: LongestKeep, History: rulesHistory},
		{Bucket: bucketBacklog, Description: "Pushers that lag: <part>.<pusher>.", LimitMarkerTTL: markerTTL},
		{Bucket: BucketPositions, Description: "How far each partition is processed, <stage>.<part>, and its owner, part.<part>."},
		{Bucket: BucketWorkers, Description: "Live dispatchers: worker.<id>.", TTL: WorkerTTL},
		{Bucket: bucketGateways, Description: "Pauses that push gateways asked for (Retry-After): paused.<origin>. How long others have been gone: gone.<origin>.", TTL: gatewayTTL},
		{Bucket: bucketVAPID, Description: "The key by which push services of browsers know poked: key. Private."},
	}
}

// configs returns the configuration of every stream, including those behind the buckets, as a
// new stream gets it.
func (t Topology) configs() []jetstream.StreamConfig {
	all := t.streams()
	for i := range all {
		all[i].Metadata = t.metadata()
	}
	for _, bucket := range t.buckets() {
		all = append(all, streamBehind(bucket))
	}
	for i := range all {
		all[i].Replicas = t.Replicas
		all[i].Storage = jetstream.FileStorage
		all[i].AllowDirect = true
	}
	return all
}

// streamBehind returns the configuration of the stream behind a bucket (NATS ADR-8), as the client
// makes it.
func streamBehind(bucket jetstream.KeyValueConfig) jetstream.StreamConfig {
	return jetstream.StreamConfig{
		Name:                   bucketStream(bucket.Bucket),
		Description:            bucket.Description,
		Subjects:               []string{kvSubject(bucket.Bucket, ">")},
		MaxMsgsPerSubject:      max(int64(bucket.History), 1),
		MaxAge:                 bucket.TTL,
		Discard:                jetstream.DiscardNew,
		AllowRollup:            true,
		DenyDelete:             true,
		AllowMsgTTL:            bucket.LimitMarkerTTL > 0,
		SubjectDeleteMarkerTTL: bucket.LimitMarkerTTL,
	}
}

// usualDuplicates is the server's default for Duplicates, of which no stream has more than MaxAge.
const usualDuplicates = 2 * time.Minute

// isSame reports whether a stream is as wanted: to update it would change nothing. What the
// server fills in counts as wanted.
func isSame(have, want jetstream.StreamConfig) bool {
	for _, limit := range []*int64{&want.MaxBytes, &want.MaxMsgs, &want.MaxMsgsPerSubject} {
		*limit = cmp.Or(*limit, -1)
	}
	want.MaxConsumers, want.MaxMsgSize = cmp.Or(want.MaxConsumers, -1), cmp.Or(want.MaxMsgSize, -1)
	if want.Duplicates == 0 && len(want.Sources) == 0 {
		want.Duplicates = usualDuplicates
		if want.MaxAge > 0 {
			want.Duplicates = min(want.Duplicates, want.MaxAge)
		}
	}
	want.FirstSeq = have.FirstSeq // no update changes it, and Keep chooses another
	metadata := maps.Clone(have.Metadata)
	maps.DeleteFunc(metadata, func(key, _ string) bool { return strings.HasPrefix(key, "_nats.") })
	if maps.Equal(metadata, want.Metadata) {
		have.Metadata, want.Metadata = nil, nil
	}
	return reflect.DeepEqual(have, want)
}
