// Package roomstore reads and writes what NATS holds of rooms: the stream ROOMS, with every event
// in order, and ROOM_STATE, with the newest event of each type and state key.
//
//	homeserver ─publish─▶ ROOMS ──filled by the server──▶ ROOM_STATE
//	bridge ──Seed───────▶   │                                 │
//	match ──ReplaceState─▶  ├──────────State, as of a sequence┴──▶ match
//	                        └──Log, Traffic, EventAt──▶ trace, match's archive, the registry
//
// # Guarantees
//
// State is as of a sequence of ROOMS, however far ROOM_STATE is filled and whatever came later.
// What is written here replaces nothing newer: each write names the last sequence of its subject
// that it has seen.
//
// # What fails, and how
//
//   - A replica is behind: the leader confirms what a replica lacks, or the read fails and is
//     repeated by the caller.
//   - A stream was made anew, or NATS restored to an earlier point: what was known of how far
//     ROOM_STATE is filled counts no more ([stream.Conn.Epoch]).
//   - A write's answer is lost: a seed or a redaction is written again, and finds that it is there.
package roomstore

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"sync"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events/stream"
)

// Store reads and writes what is stored of rooms. It is safe for concurrent use. Whoever reads the
// state of many rooms keeps one, since it remembers how far ROOM_STATE is filled.
type Store struct {
	conn *stream.Conn

	mu    sync.Mutex
	heard map[string]heard // by stream ROOM_STATE
}

// New returns a store of the rooms that conn reaches.
func New(conn *stream.Conn) *Store { return &Store{conn: conn, heard: map[string]heard{}} }

// heard records that a stream ROOM_STATE, at its sequence seq, contained all state events up to
// the sequence source of ROOMS.
type heard struct {
	epoch  uint64 // of the connection; what was heard in an earlier one counts no more
	seq    uint64
	source uint64 // in ROOMS
}

// known returns what was heard of a stream in this epoch.
func (s *Store) known(name string, epoch uint64) heard {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.heard[name]; known.epoch == epoch {
		return known
	}
	return heard{epoch: epoch}
}

// note records what was heard, unless more is known already.
func (s *Store) note(name string, now heard) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if known := s.heard[name]; known.epoch < now.epoch || known.epoch == now.epoch && known.source < now.source {
		s.heard[name] = now
	}
}

// heardOf returns how far a stream ROOM_STATE is filled. It asks the server only if the last known
// value is below enough.
func (s *Store) heardOf(ctx context.Context, name string, enough uint64) (heard, error) {
	for tries := 0; ; tries++ {
		known := s.known(name, s.conn.Epoch())
		if known.source >= enough {
			return known, nil
		}
		filled, err := s.conn.LookUp(ctx, name)
		if err != nil {
			return known, err
		}
		last := filled.CachedInfo().State.LastSeq
		if last == 0 {
			return known, nil
		}
		msg, err := filled.GetMsg(ctx, last)
		if errors.Is(err, jetstream.ErrMsgNotFound) {
			if tries < 3 {
				continue // replaced since
			}
			return known, nil // removed by hand; more is read from ROOMS than needed
		}
		if err != nil {
			return known, fmt.Errorf("read %s: %w", name, err)
		}
		if source, ok := sourceSeq(msg.Header); ok {
			known.seq, known.source = last, source
			s.note(name, known)
		}
		return known, nil
	}
}

// sourceSeq returns the ROOMS sequence of a message in ROOM_STATE: the second word of its
// source header, after the stream's name.
func sourceSeq(header map[string][]string) (uint64, bool) {
	values := header["Nats-Stream-Source"]
	if len(values) != 1 {
		return 0, false
	}
	words := strings.Fields(values[0])
	if len(words) < 2 {
		return 0, false
	}
	seq, err := strconv.ParseUint(words[1], 10, 64)
	return seq, err == nil
}
