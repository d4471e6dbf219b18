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
	// keepInterval is how often it is looked whether the streams are there.
	keepInterval = 2 * time.Second
	// keepMisses is how many looks in a row have to miss a stream until it is made
	// anew: a server that has just become the leader may not know of it yet.
	keepMisses = 2
	// keepGap is how far beyond the last sequence that was seen a stream begins
	// that is made anew: more than can have come since.
	keepGap = 1 << 32
)

// Status is how a stream stood when it was last looked at.
type Status struct {
	Name     string // of a bucket, KV_ and its name
	Messages uint64
	Bytes    uint64
	LastSeq  uint64
	Missing  bool // somebody has deleted it
}

// keeper looks after the streams; see [Conn.Keep].
type keeper struct {
	mu      sync.Mutex
	streams map[string]*kept
}

// kept is what is known of one stream.
type kept struct {
	info   *jetstream.StreamInfo
	misses int  // looks in a row that did not find it
	told   bool // that it is missing is in the log
}

// Keep looks after the streams until ctx ends. One that somebody has deleted is
// made anew as it was, empty, if that is permitted, and otherwise reported until
// somebody else has made it. It begins far beyond the last sequence of the one
// before, so that whoever remembers a sequence reads on from there: followers,
// watchers, backlogs, and the server itself, which fills ROOM_STATE from ROOMS.
// After that, and when another has made a stream anew, the hooks of
// [Conn.OnReconnect] are called as after a lost connection.
func (c *Conn) Keep(ctx context.Context, t Topology) error {
	tick := time.NewTicker(keepInterval)
	defer tick.Stop()
	for {
		anew := false
		for _, name := range t.names() {
			anew = c.look(ctx, name) || anew
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

// look looks at one stream, and says whether it is another than before.
func (c *Conn) look(ctx context.Context, name string) (anew bool) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	stream, err := c.js.Stream(ctx, name)
	switch {
	case err == nil:
		return c.keeper.found(name, stream.CachedInfo(), c)
	case errors.Is(err, jetstream.ErrStreamNotFound):
		c.missed(ctx, name)
	}
	return false // NATS is away or elects a leader: that says nothing of the stream
}

// found takes in that a stream is there.
func (k *keeper) found(name string, info *jetstream.StreamInfo, c *Conn) (anew bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before := k.at(name)
	anew = before.info != nil && !before.info.Created.Equal(info.Created)
	if anew {
		c.log.Error("a stream was deleted and made anew, what it held is lost", "stream", name)
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

// missed takes in that a stream is not there, and makes it anew if that is sure
// and it is known how.
func (c *Conn) missed(ctx context.Context, name string) {
	k := &c.keeper
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
		err = c.remake(ctx, last)
	}
	if err == nil {
		return // the next look finds it, with its date
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !stream.told {
		stream.told = true
		c.log.Error("a stream is gone, waiting for somebody to make it anew", "stream", name, "error", err)
	}
}

// errNeverSeen says that a stream was gone before it was first looked at.
var errNeverSeen = errors.New("nobody knows how it was")

// remake makes a stream as it was, beyond the sequences that it had.
func (c *Conn) remake(ctx context.Context, last *jetstream.StreamInfo) error {
	cfg := last.Config
	cfg.FirstSeq = max(last.State.LastSeq, cfg.FirstSeq) + keepGap
	_, err := c.js.CreateStream(ctx, cfg)
	if errors.Is(err, jetstream.ErrStreamNameAlreadyInUse) {
		return nil // another was faster
	}
	if err != nil {
		return c.notReady(fmt.Errorf("make stream: %w", err))
	}
	return nil
}

// Streams returns how the streams stood when [Conn.Keep] last looked, by name.
func (c *Conn) Streams() []Status {
	k := &c.keeper
	k.mu.Lock()
	defer k.mu.Unlock()
	states := make([]Status, 0, len(k.streams))
	for name, stream := range k.streams {
		state := Status{Name: name, Missing: stream.misses >= keepMisses}
		if stream.info != nil {
			state.Messages, state.Bytes, state.LastSeq = stream.info.State.Msgs, stream.info.State.Bytes, stream.info.State.LastSeq
		}
		states = append(states, state)
	}
	slices.SortFunc(states, func(a, b Status) int { return strings.Compare(a.Name, b.Name) })
	return states
}
