package stream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

const (
	// keepPulses is how many pulses there are between two checks of the streams: 2 s.
	keepPulses = 4
	// keepMisses is how many checks in a row must miss a stream before it is made anew: a
	// new leader may not know it yet.
	keepMisses = 2
	// keepGap is how far beyond the last known sequence a stream that is made anew
	// begins: more than can have been stored since.
	keepGap = 1 << 32
)

// Status is the state of a stream when it was last checked.
type Status struct {
	Name     string // of a bucket: KV_ and its name
	Messages uint64
	Bytes    uint64
	LastSeq  uint64
	LastTime time.Time // when the last message was stored
	Missing  bool      // it was deleted
	// Replicas is how many servers are to store the stream, and Current how many of them have
	// all of it now. Both are 1 if it is not replicated.
	Replicas, Current int
}

// keeper checks the streams; see [Conn.Keep].
type keeper struct {
	conn *Conn

	mu      sync.Mutex
	streams map[string]*kept
}

// kept is what is known of one stream.
type kept struct {
	info   *jetstream.StreamInfo
	misses int  // checks in a row that did not find it
	logged bool // its absence was logged
}

// Keep checks the streams until ctx ends. A stream that was deleted is made anew with its
// old configuration, empty, if that is permitted; otherwise its absence is logged until
// another process has made it. A new stream begins far beyond the last sequence of the
// old one, so that everything that remembers a sequence resumes from there: followers,
// watchers, backlogs, and the server itself, which fills ROOM_STATE from ROOMS. After
// that, and when another process has made a stream anew, the hooks of [Conn.OnReconnect]
// are called as after a lost connection.
func (c *Conn) Keep(ctx context.Context, t Topology) error {
	t.Streams = c.topology.Streams
	tick := time.NewTicker(keepPulses * c.pulse)
	defer tick.Stop()
	for {
		anew := false
		for _, name := range t.names() {
			anew = c.keeper.look(ctx, name) || anew
		}
		if anew {
			c.again()
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// look checks one stream, and reports whether it was made anew since the last check.
func (k *keeper) look(ctx context.Context, name string) (anew bool) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	stream, err := k.conn.askStream(ctx, name)
	switch {
	case err == nil:
		k.conn.noteEnd(name, stream.CachedInfo().State.LastSeq)
		return k.found(name, stream.CachedInfo())
	case errors.Is(err, jetstream.ErrStreamNotFound):
		k.missed(ctx, name)
	}
	return false // NATS is away or elects a leader: the stream may exist
}

// found records that a stream exists.
func (k *keeper) found(name string, info *jetstream.StreamInfo) (anew bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.at(name)
	anew = before.info != nil && !before.info.Created.Equal(info.Created)
	if anew {
		k.conn.log.Error("a stream was deleted and made anew, what it held is lost", "stream", name)
	}
	k.streams[name] = &kept{info: info}
	return anew
}

// at returns what is known of a stream. The caller holds the mutex.
func (k *keeper) at(name string) *kept {
	if k.streams == nil {
		k.streams = map[string]*kept{}
	}
	if k.streams[name] == nil {
		k.streams[name] = &kept{}
	}
	return k.streams[name]
}

// missed records that a check did not find a stream. Once that is certain it makes the
// stream anew, if its configuration is known.
func (k *keeper) missed(ctx context.Context, name string) {
	k.mu.Lock()
	stream := k.at(name)
	stream.misses++
	last, sure := stream.info, stream.misses >= keepMisses
	k.mu.Unlock()
	if !sure {
		return
	}
	err := errNeverSeen
	if last != nil {
		err = k.remake(ctx, last)
	}
	if err == nil {
		return // the next check finds it, with its date
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !stream.logged {
		stream.logged = true
		k.conn.log.Error("a stream is gone, waiting for somebody to make it anew", "stream", name, "error", err)
	}
}

// errNeverSeen is the reason for not making a stream that was gone before the first
// check.
var errNeverSeen = errors.New("its configuration is unknown: it was missing at the first check")

// remake makes a stream with its old configuration, beyond its old sequences.
func (k *keeper) remake(ctx context.Context, last *jetstream.StreamInfo) error {
	cfg := last.Config
	cfg.FirstSeq = max(last.State.LastSeq, cfg.FirstSeq) + keepGap
	_, err := k.conn.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another was faster
	}
	if err != nil {
		return k.conn.notReady(fmt.Errorf("make stream: %w", err))
	}
	return nil
}

// Streams returns the state of the streams at the last check of [Conn.Keep], by name.
func (c *Conn) Streams() []Status {
	k := &c.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	states := make([]Status, 0, len(k.streams))
	for name, stream := range k.streams {
		state := Status{Name: name, Missing: stream.misses >= keepMisses}
		if stream.info != nil {
			stored := &stream.info.State
			state.Messages, state.Bytes, state.LastSeq, state.LastTime = stored.Msgs, stored.Bytes, stored.LastSeq, stored.LastTime
			state.Replicas, state.Current = copiesOf(stream.info)
		}
		states = append(states, state)
	}
	slices.SortFunc(states, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return states
}

// copiesOf returns how many servers are to store a stream, and how many have all of it: the
// leader, if there is one, and those that follow it.
func copiesOf(info *jetstream.StreamInfo) (replicas, current int) {
	if replicas = info.Config.Replicas; replicas <= 1 || info.Cluster == nil {
		return 1, 1
	}
	if info.Cluster.Leader != "" {
		current++
	}
	for _, peer := range info.Cluster.Replicas {
		if peer.Current && !peer.Offline {
			current++
		}
	}
	return replicas, current
}
