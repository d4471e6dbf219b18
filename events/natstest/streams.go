package natstest

import (
	"context"
	"errors"
	"os"
	"strconv"
	"strings"

	"github.com/nats-io/nats.go/jetstream"

	"poked/events/stream"
)

// streamsVariable is the environment variable with the number of streams for tests that leave
// it open: a test that passes with one stream should pass with any number.
const streamsVariable = "POKED_TEST_STREAMS"

// Streams returns the topology with the number of streams that the environment asks for, as
// far as its partitions allow.
func Streams(t stream.Topology) stream.Topology {
	if n, err := strconv.Atoi(os.Getenv(streamsVariable)); err == nil {
		t.Streams = min(n, t.Partitions)
	}
	return t
}

// mapRooms adds the subject mapping that several streams need to a server, as nats.conf does.
func (s *Server) mapRooms(t stream.Topology) {
	s.t.Helper()
	if t.Streams <= 1 {
		return
	}
	s.MapRooms(stream.PartitionedRooms(t.Partitions))
}

// MapRooms adds a subject mapping of room.*.>.
func (s *Server) MapRooms(to string) {
	s.t.Helper()
	s.mapped = to
	s.addMapping()
}

func (s *Server) addMapping() {
	s.t.Helper()
	if s.mapped == "" {
		return
	}
	if err := s.life.Load().addMapping("room.*.>", s.mapped); err != nil {
		s.t.Fatalf("map subjects: %v", err)
	}
}

// streams returns the streams that a test means by a name: all of ROOMS_1, ROOMS_2 … for ROOMS,
// if there are several.
func streamsOf(ctx context.Context, js jetstream.JetStream, name string) (all []jetstream.Stream, err error) {
	one, err := js.Stream(ctx, name)
	if err == nil {
		return []jetstream.Stream{one}, nil
	}
	for n := 1; errors.Is(err, jetstream.ErrStreamNotFound) && n <= stream.MaxStreams; n++ {
		one, next := js.Stream(ctx, name+"_"+strconv.Itoa(n))
		if next != nil {
			break
		}
		all = append(all, one)
	}
	if len(all) == 0 {
		return nil, err
	}
	return all, nil
}

// isOf reports whether a stream is what a test means by a name.
func isOf(name, meant string) bool {
	number, ok := strings.CutPrefix(name, meant+"_")
	_, err := strconv.Atoi(number)
	return name == meant || ok && err == nil
}
