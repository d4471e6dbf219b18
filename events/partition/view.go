package partition

import (
	"context"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events/stream"
)

// view is what a bucket holds under some keys, kept up to date by a tail. One goroutine
// owns it.
type view struct {
	tail    *stream.Tail
	loaded  bool            // the consumer has delivered everything that the bucket held
	records map[string]seen // by key
	before  map[string]seen // the records of the consumer before this one, until loaded
}

// seen is a key of a bucket as the view last knew it.
type seen struct {
	stream.Record
	at time.Time // when the view last received it
}

// newView returns a view of a bucket for a reader of this name.
func newView(c *stream.Conn, bucket, keys, reader string) *view {
	v := &view{}
	v.tail = c.TailBucket(bucket, keys, stream.TailConfig{
		Reader: reader, Patience: heartbeatTimeout, Began: v.begin, Log: c.Log().With("bucket", bucket),
	})
	return v
}

// messages returns the channel of the server's messages, which the caller passes to
// take, or nil while the server cannot be reached.
func (v *view) messages(ctx context.Context) <-chan *nats.Msg {
	v.tail.Check(time.Now())
	return v.tail.Messages(ctx)
}

// synced reports whether the records are what the bucket holds.
func (v *view) synced() bool { return v.loaded && v.tail.Connected() }

// begin starts over for a new consumer, which delivers everything again.
func (v *view) begin(pending uint64) {
	if v.before == nil {
		v.before = v.records
	}
	v.records, v.loaded = map[string]seen{}, false
	if pending == 0 {
		v.finish()
	}
}

// take records one message of the server's.
func (v *view) take(m *nats.Msg) {
	key, r, pending, ok := v.tail.AcceptRecord(m)
	if !ok {
		return
	}
	if r.Revision >= v.records[key].Revision { // else the worker has overwritten it since
		v.set(key, r)
	}
	if pending == 0 && !v.loaded {
		v.finish()
	}
}

// finish ends the loading. A record from before that the consumer did not deliver, or
// delivered in an older version, is kept as if it had just been received: while NATS was
// away no worker could renew its heartbeat, and a replica may be behind.
func (v *view) finish() {
	for key, r := range v.before {
		if last, known := v.records[key]; !known || last.Revision < r.Revision {
			v.set(key, r.Record)
		}
	}
	v.before, v.loaded = nil, true
}

// set records the state of a key.
func (v *view) set(key string, r stream.Record) { v.records[key] = seen{Record: r, at: time.Now()} }

// refresh treats every record as just received.
func (v *view) refresh() {
	for key, r := range v.records {
		v.set(key, r.Record)
	}
}

// reset drops the consumer. The next call of messages makes another one.
func (v *view) reset() { v.tail.Close() }
