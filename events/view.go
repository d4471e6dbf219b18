package events

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// viewQueue is how many changes of a view may wait to be taken in. If there are
// more, some are lost, which is noticed, and all is told again.
const viewQueue = 4 * MaxPartitions

// view is what a bucket holds under some keys, as the server tells it change by
// change. It has a consumer of its own without acknowledgements, which is dropped
// and made anew whatever goes wrong with it, as a reader's is, and within two
// seconds: nats.go's own watcher takes ten. One goroutine owns the view.
type view struct {
	bucket, keys string

	sub      *nats.Subscription // nil while nothing is told
	inbox    chan *nats.Msg
	expected uint64 // consumer sequence of the next message
	heard    time.Time
	retryAt  time.Time
	failing  bool // so that an outage is logged once

	synced  bool // all that there is has been told
	records map[string]record
	before  map[string]record // what was known when this consumer was made, until synced
}

// follow has the server tell the view what happens, if it does not.
func (v *view) follow(ctx context.Context, c *Conn) {
	if v.sub != nil && len(v.inbox) == 0 && time.Since(v.heard) > c.silenceLimit() {
		v.reset()
	}
	if v.sub != nil || time.Now().Before(v.retryAt) {
		return
	}
	err := v.open(ctx, c)
	if err != nil {
		if !v.failing {
			c.log.Warn("bucket not watched, trying again", "bucket", v.bucket, "error", err)
		}
		v.reset()
		v.retryAt = time.Now().Add(retryWait)
	}
	v.failing = err != nil
}

func (v *view) open(ctx context.Context, c *Conn) (err error) {
	ctx, cancel := context.WithTimeout(ctx, heartbeatTimeout)
	defer cancel()
	v.inbox = make(chan *nats.Msg, viewQueue)
	if v.sub, err = c.nc.ChanSubscribe(nats.NewInbox(), v.inbox); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	consumer, err := c.js.CreatePushConsumer(ctx, "KV_"+v.bucket, jetstream.ConsumerConfig{
		DeliverSubject: v.sub.Subject, FilterSubject: kvSubject(v.bucket, v.keys),
		DeliverPolicy: jetstream.DeliverLastPerSubjectPolicy, AckPolicy: jetstream.AckNonePolicy,
		IdleHeartbeat: c.pulse, InactiveThreshold: time.Minute, MemoryStorage: true, Replicas: 1,
	})
	if err != nil {
		return fmt.Errorf("create consumer: %w", err)
	}
	if v.before == nil {
		v.before = v.records
	}
	v.records, v.expected, v.heard = map[string]record{}, 1, time.Now()
	if info := consumer.CachedInfo(); info.NumPending+info.Delivered.Consumer == 0 {
		v.sync()
	}
	return nil
}

// take takes in one word of the server's.
func (v *view) take(m *nats.Msg) {
	v.heard = time.Now()
	if m.Header.Get("Status") == "100" && len(m.Data) == 0 {
		if last, err := strconv.ParseUint(m.Header.Get(headerLastConsumer), 10, 64); err == nil && last >= v.expected {
			v.reset() // something did not come
		}
		return
	}
	meta, err := m.Metadata()
	if err != nil || meta.Sequence.Consumer != v.expected {
		v.reset()
		return
	}
	v.expected++
	key := strings.TrimPrefix(m.Subject, kvSubject(v.bucket, ""))
	if seq := meta.Sequence.Stream; seq >= v.records[key].revision { // or the worker has overwritten it
		v.set(key, record{value: string(m.Data), revision: seq, there: m.Header.Get("KV-Operation") == ""})
	}
	if meta.NumPending == 0 && !v.synced {
		v.sync()
	}
}

// sync takes in that all has been told. What was known before and is not there any
// more, or only as it was earlier, is kept, as heard of just now: while NATS was
// away nobody could keep a heartbeat alive, and a replica may be behind.
func (v *view) sync() {
	for key, r := range v.before {
		if last, known := v.records[key]; !known || last.revision < r.revision {
			v.set(key, r)
		}
	}
	v.before, v.synced = nil, true
}

// set takes in how a key is.
func (v *view) set(key string, r record) {
	r.heard = time.Now()
	v.records[key] = r
}

// refresh counts everything as heard of just now.
func (v *view) refresh() {
	for key, r := range v.records {
		v.set(key, r)
	}
}

// reset forgets the consumer, for another one to be made; the server drops it when
// it has been idle.
func (v *view) reset() {
	if v.sub != nil {
		_ = v.sub.Unsubscribe() // fails only on a connection that is closed
	}
	v.sub, v.inbox, v.synced = nil, nil, false
}
