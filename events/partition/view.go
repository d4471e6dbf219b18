package partition

import (
	"context"
	"strings"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events/stream"
)

// view is what a bucket holds under some keys, kept up to date by a tail. One goroutine
// owns it.
type view struct {
	tail   *stream.Tail
	prefix string // of the subjects of its keys

	told    bool // all that there is has been told, by the consumer that there is
	records map[string]stream.Record
	before  map[string]stream.Record // what was known when this consumer was made, until told
}

// newView returns a view of a bucket for a reader of this name.
func newView(c *stream.Conn, bucket, keys, reader string) *view {
	v := &view{prefix: stream.KVSubject(bucket, "")}
	v.tail = c.TailBucket(bucket, keys, stream.TailConfig{
		Reader: reader, Patience: heartbeatTimeout, Began: v.begin, Log: c.Log().With("bucket", bucket),
	})
	return v
}

// messages returns the channel of what the server says of the bucket, or nil while it
// cannot be reached. Each message is for take.
func (v *view) messages(ctx context.Context) <-chan *nats.Msg {
	v.tail.Check(time.Now())
	return v.tail.Messages(ctx)
}

// synced reports whether the records are what the bucket holds.
func (v *view) synced() bool { return v.told && v.tail.Connected() }

// begin starts over: everything is told anew.
func (v *view) begin(pending uint64) {
	if v.before == nil {
		v.before = v.records
	}
	v.records, v.told = map[string]stream.Record{}, false
	if pending == 0 {
		v.sync()
	}
}

// take takes one word of the server's.
func (v *view) take(m *nats.Msg) {
	meta, ok := v.tail.Accept(m)
	if !ok {
		return
	}
	key := strings.TrimPrefix(m.Subject, v.prefix)
	if seq := meta.Sequence.Stream; seq >= v.records[key].Revision { // or the worker has overwritten it
		v.set(key, stream.Record{Value: string(m.Data), Revision: seq, There: !stream.IsDeletion(m.Header)})
	}
	if meta.NumPending == 0 && !v.told {
		v.sync()
	}
}

// sync takes in that all has been told. What was known before and is not there any
// more, or only as it was earlier, is kept, as heard of just now: while NATS was
// away nobody could keep a heartbeat alive, and a replica may be behind.
func (v *view) sync() {
	for key, r := range v.before {
		if last, known := v.records[key]; !known || last.Revision < r.Revision {
			v.set(key, r)
		}
	}
	v.before, v.told = nil, true
}

// set takes in how a key is.
func (v *view) set(key string, r stream.Record) {
	r.Heard = time.Now()
	v.records[key] = r
}

// refresh counts everything as heard of just now.
func (v *view) refresh() {
	for key, r := range v.records {
		v.set(key, r)
	}
}

// reset drops the consumer, for another one to be made.
func (v *view) reset() { v.tail.Close() }
