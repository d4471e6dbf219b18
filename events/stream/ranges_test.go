package stream_test

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/events/roomstore"
	"poked/events/stream"
)

// inFour is a topology whose log is in four streams.
func inFour() stream.Topology { return stream.Topology{Partitions: 16, Replicas: 1, Streams: 4} }

func roomNumber(n int) events.RoomID { return events.RoomID(fmt.Sprintf("!%d:x", n)) }

// publishIn publishes a state event of a room.
func publishIn(t *testing.T, conn *stream.Conn, n int) {
	t.Helper()
	raw := fmt.Appendf(nil, `{"event_id":"$%d","room_id":%q,"type":"m.x","sender":"@a:x","state_key":"","content":{}}`, n, roomNumber(n))
	if err := publish.NewPublisher(conn).Event(t.Context(), raw); err != nil {
		t.Fatal(err)
	}
}

// Each message is in the stream of its partition, and its sequence tells which that is,
// whether poked publishes it or a homeserver does by way of the subject mapping.
func TestStreamsShareThePartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(inFour())
		for n := range 64 {
			if n%2 == 0 {
				publishIn(t, conn, n)
			} else {
				server.Publish("room."+events.Token(roomNumber(n))+".state."+events.Token("m.x")+"._",
					fmt.Sprintf(`{"event_id":"$%d","room_id":%q,"type":"m.x","sender":"@a:x","state_key":"","content":{}}`, n, roomNumber(n)))
			}
			natstest.Notify(t, conn, events.UserID(fmt.Sprintf("@%d:x", n)), roomNumber(n), eventstest.Notification())
		}
		if err := conn.PublishBarrier(t.Context(), events.Barrier{}); err != nil {
			t.Fatal(err)
		}
		seen := map[uint64]bool{}
		for _, base := range []string{stream.Rooms, stream.Notifications} {
			all := 0
			for i := range 4 {
				name := base + "_" + strconv.Itoa(i+1)
				for _, msg := range server.Stored(name, "") {
					all++
					part, err := strconv.Atoi(strings.Split(msg.Subject, ".")[1])
					if err != nil || part/4 != i || conn.Topology().StreamOf(base, part) != name || int(msg.Seq>>48) != i+1 || seen[msg.Seq] && base == stream.Rooms {
						t.Errorf("%s has %s at %d", name, msg.Subject, msg.Seq)
					}
					seen[msg.Seq] = true
				}
			}
			if want := map[string]int{stream.Rooms: 64 + 16, stream.Notifications: 64}[base]; all != want {
				t.Errorf("the streams %s have %d messages, want %d", base, all, want)
			}
		}
		other := server.Dial()
		if err := other.Join(t.Context()); err != nil {
			t.Fatal(err)
		}
		rooms := roomstore.New(other)
		for n := range 64 {
			before := uint64(1) << 60
			if got := stateIn(t, rooms, n, before); got != fmt.Sprintf("map[:$%d]", n) {
				t.Errorf("room %d has the state %s", n, got)
			}
			for logged, err := range rooms.Log(t.Context(), roomNumber(n), 1) {
				if err != nil || logged.Seq>>48 == 0 {
					t.Errorf("room %d: %d, %v", n, logged.Seq, err)
				}
			}
		}
	})
}

// With one stream nothing is new: neither a name, nor a subject, nor what the metadata says.
func TestOneStreamIsAsItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(stream.Topology{Partitions: 2, Replicas: 1, Streams: 1})
		publishIn(t, conn, 1)
		if err := server.Dial().Setup(t.Context(), stream.Topology{Partitions: 2, Replicas: 1}); err != nil {
			t.Fatal(err)
		}
		nc, err := nats.Connect("", nats.InProcessServer(server))
		if err != nil {
			t.Fatal(err)
		}
		defer nc.Close()
		js, err := jetstream.New(nc)
		if err != nil {
			t.Fatal(err)
		}
		for name, subjects := range map[string]string{"ROOMS": "[room.*.>]", "NOTIFICATIONS": "[log.*]", "ROOM_STATE": "[]"} {
			s, err := js.Stream(t.Context(), name)
			if err != nil {
				t.Fatal(err)
			}
			cfg := s.CachedInfo().Config
			if fmt.Sprint(cfg.Subjects) != subjects || cfg.FirstSeq != 0 || cfg.Metadata["poked_partitions"] != "2" || cfg.Metadata["poked_streams"] != "" {
				t.Errorf("%s has %+v", name, cfg)
			}
		}
		if msgs := server.Stored("ROOMS", ""); len(msgs) != 1 || msgs[0].Seq != 1 {
			t.Errorf("ROOMS has %+v", msgs)
		}
		if mapped, err := conn.CheckMapping(t.Context()); !mapped || err != nil || len(server.Stored("ROOMS", "")) != 1 {
			t.Errorf("a mapping is missed: %v, %v", mapped, err)
		}
	})
}

// Another number of streams than exists is refused with what to do about it; a process that
// asks for none takes what exists.
func TestSetupRefusesAnotherNumberOfStreams(t *testing.T) {
	for _, exist := range []int{1, 2, 4} {
		synctest.Test(t, func(t *testing.T) {
			server := natstest.StartServer(t)
			topology := func(streams int) stream.Topology {
				return stream.Topology{Partitions: 4, Replicas: 1, Streams: streams}
			}
			server.Connect(topology(exist))
			for asked := range 6 {
				for name, have := range map[string]func(*stream.Conn) error{
					"setup": func(c *stream.Conn) error { return c.Setup(t.Context(), topology(asked)) },
					"adopt": func(c *stream.Conn) error { return c.Adopt(t.Context(), topology(asked)) },
				} {
					conn := server.Dial()
					switch err := have(conn); {
					case asked == 0 || asked == exist:
						if err != nil || len(conn.Topology().StreamsOf(stream.Rooms)) != exist {
							t.Errorf("%s of %d where %d exist: %v", name, asked, exist, err)
						}
					case asked == 5:
						if err == nil {
							t.Errorf("%s of 5 streams for 4 partitions is accepted", name)
						}
					case !errors.Is(err, stream.ErrStreams) || !strings.Contains(err.Error(), fmt.Sprintf("set it to %d.", exist)):
						t.Errorf("%s of %d where %d exist: %v", name, asked, exist, err)
					}
				}
			}
		})
	}
}

// stateIn returns the events of a room's state: state key → event.
func stateIn(t *testing.T, rooms *roomstore.Store, n int, before uint64) string {
	t.Helper()
	state, err := natstest.RoomState(t, rooms, roomNumber(n), before)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(state)
}

// seedIn seeds a room, and replaces its state.
func seedIn(t *testing.T, conn *stream.Conn, n int) {
	t.Helper()
	rooms := roomstore.New(conn)
	seed, err := rooms.Seed(t.Context(), roomNumber(n))
	if err != nil {
		t.Fatal(err)
	}
	create := fmt.Appendf(nil, `{"event_id":"$create","room_id":%q,"type":"m.room.create","sender":"@a:x","state_key":"","content":{}}`, roomNumber(n))
	if err := seed.Add(t.Context(), create); err != nil {
		t.Fatal(err)
	}
	if _, err := seed.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	old, err := rooms.LastState(t.Context(), roomNumber(n), "m.room.create", "")
	if err != nil || !bytes.Equal(old.Data, create) {
		t.Fatalf("room %d has %s: %v", n, old.Data, err)
	}
	replaced := make(chan error, 1)
	rooms.ReplaceState(old.Subject, []byte(`{}`), old.Seq, func(err error) { replaced <- err })
	if err := <-replaced; err != nil {
		t.Fatal(err)
	}
	if now, err := rooms.LastState(t.Context(), roomNumber(n), "m.room.create", ""); err != nil || string(now.Data) != `{}` {
		t.Errorf("the state is %s: %v", now.Data, err)
	}
}

// A subject mapping that would store rooms where nobody looks for them is refused, and nothing
// is stored to find that out.
func TestMappingThatDoesNotFit(t *testing.T) {
	for name, tt := range map[string]struct {
		streams int
		to      string
		mapped  bool
		wrong   error // wrapped, besides ErrMapping
	}{
		"fits":                  {4, "rooms.{{partition(16,1)}}.{{wildcard(1)}}.>", true, nil},
		"none":                  {4, "", false, nil},
		"too few partitions":    {4, "rooms.{{partition(8,1)}}.{{wildcard(1)}}.>", false, stream.ErrMapping},
		"too many partitions":   {4, "rooms.{{partition(32,1)}}.{{wildcard(1)}}.>", false, stream.ErrMapping},
		"one partition":         {4, "rooms.0.{{wildcard(1)}}.>", false, stream.ErrMapping},
		"one stream, none":      {1, "", true, nil},
		"one stream, a mapping": {1, "rooms.{{partition(16,1)}}.{{wildcard(1)}}.>", false, stream.ErrMapping},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				server := natstest.StartServer(t)
				topology := inFour()
				topology.Streams = tt.streams
				conn := server.Dial()
				if err := conn.Setup(t.Context(), topology); err != nil {
					t.Fatal(err)
				}
				if tt.to != "" {
					server.MapRooms(tt.to)
					<-time.After(time.Second) // until connections know of it
				}
				mapped, err := conn.CheckMapping(t.Context())
				if mapped != tt.mapped || !errors.Is(err, tt.wrong) || err != nil && !strings.Contains(err.Error(), "mapping") {
					t.Errorf("mapped is %v: %v", mapped, err)
				}
				if n := len(server.Stored("ROOMS", "")); n != 0 {
					t.Errorf("%d messages are stored", n)
				}
				if tt.streams > 1 { // poked itself needs none
					publishIn(t, conn, 1)
					seedIn(t, conn, 2)
				}
			})
		})
	}
}

// How far one stream of room state is filled says nothing of another.
func TestRoomStateOfSeveralStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(inFour())
		rooms := map[int][]int{} // by stream
		for n := 0; len(rooms[4]) < 20 || len(rooms[1]) < 1; n++ {
			number := conn.Topology().PartOfRoom(roomNumber(n))/4 + 1
			if rooms[number] = append(rooms[number], n); number == 4 || len(rooms[number]) == 1 {
				publishIn(t, conn, n)
			}
		}
		eventstest.WaitFor(t, "the state", func() bool {
			return len(server.Stored("ROOM_STATE_4", "")) >= 20 && len(server.Stored("ROOM_STATE_1", "")) == 1
		})
		state := roomstore.New(conn)
		for _, number := range []int{4, 1} {
			n := rooms[number][0]
			if got := stateIn(t, state, n, uint64(number)<<48+2); got != fmt.Sprintf("map[:$%d]", n) {
				t.Errorf("room %d in stream %d has the state %s", n, number, got)
			}
		}
	})
}

// One of several streams that was deleted is made anew beyond its old sequences, and the others
// keep what they hold.
func TestOneOfSeveralStreamsIsDeleted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(inFour())
		natstest.Keep(t, conn)
		for n := range 16 {
			publishIn(t, conn, n)
		}
		var before []int
		for _, name := range conn.Topology().StreamsOf(stream.Rooms) {
			before = append(before, len(server.Stored(name, "")))
		}
		<-time.After(5 * time.Second) // until the keeper knows the sequences
		ended := lastSeq(conn, "ROOMS_2")
		server.DeleteStream("ROOMS_2")
		eventstest.WaitFor(t, "the new stream", func() bool { return lastSeq(conn, "ROOMS_2") > ended+1000 })
		if lastSeq(conn, "ROOMS_2")>>48 != 2 {
			t.Errorf("it begins at %d", lastSeq(conn, "ROOMS_2"))
		}
		before[1] = 0
		var after []int
		for _, name := range conn.Topology().StreamsOf(stream.Rooms) {
			after = append(after, len(server.Stored(name, "")))
		}
		if !slices.Equal(before, after) {
			t.Errorf("the streams hold %v, want %v", after, before)
		}
		if err := conn.Setup(t.Context(), inFour()); err != nil {
			t.Errorf("set up again: %v", err)
		}
	})
}

// A process knows where each stream of the log ends: by what it stored itself, and by looking
// every two seconds for what others did.
func TestLogEndOfSeveralStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		writer, other := server.Connect(inFour()), server.Connect(inFour())
		natstest.Keep(t, other)
		stored := make(chan error, 1)
		batch := writer.NewLogBatch(func(_ int64, err error) { stored <- err })
		for part := range 16 {
			if part/4 != 2 {
				batch.Add(events.LogSubject(part), nil, []byte(`{}`))
			}
		}
		batch.Send()
		if err := <-stored; err != nil {
			t.Fatal(err)
		}
		want := stream.LogMark{1<<48 + 4, 2<<48 + 4, 0, 4<<48 + 4}
		if got := writer.LogEnd(); !slices.Equal(got, want) {
			t.Errorf("the writer knows %d, want %d", got, want)
		}
		<-time.After(5 * time.Second)
		want[2] = 3 << 48
		if got := other.LogEnd(); !slices.Equal(got[:2], want[:2]) || got[3] != want[3] {
			t.Errorf("another process knows %d, want %d", got, want)
		}
		third := server.Connect(inFour())
		if got, err := third.ReadLogEnd(t.Context()); err != nil || !slices.Equal(got, want) || !slices.Equal(third.LogEnd(), want) {
			t.Errorf("the log ends at %d, want %d: %v", got, want, err)
		}
		for part := range 16 {
			begin, err := other.LogBegin(t.Context(), part)
			if want := uint64(part/4+1)<<48 + 1; err != nil || begin != want || other.LogIndex(part) != part/4 {
				t.Errorf("partition %d begins at %d, want %d: %v", part, begin, want, err)
			}
		}
	})
}

// The notifications of an event are found in all streams, and by their sequences.
func TestNotifiedOfInSeveralStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(inFour())
		before := time.Now()
		end, err := conn.ReadLogEnd(t.Context())
		if err != nil || end.IsZero() || end.At(2) != 3<<48 {
			t.Fatalf("the log ends at %d, %v", end, err)
		}
		spans := make([]stream.Span, len(end))
		for n := range 40 {
			user := events.UserID(fmt.Sprintf("@%d:x", n))
			notify(t, conn, user, "!r", uint64(n%2)+1)
			if i := conn.LogIndex(conn.Topology().PartOf(user)); n%2 == 0 {
				spans[i] = stream.Span{After: end.At(i), Count: spans[i].Count + 1}
			}
		}
		for name, at := range map[string]stream.NotifiedAt{
			"by time": {Since: before}, "by spans": {Spans: spans, Since: before},
			"beyond the end": {Spans: []stream.Span{{After: 1<<48 + 900}, {After: 2<<48 + 900}, {After: 3<<48 + 900}, {After: 4<<48 + 900}}, Since: before},
		} {
			at.Room, at.RoomSeq = "!r", 1
			found, _, err := conn.NotifiedLog().Of(t.Context(), at)
			var users []string
			var seqs []uint64
			for _, one := range found {
				users, seqs = append(users, string(one.Users[0])), append(seqs, one.Seq)
			}
			if slices.Sort(users); err != nil || len(slices.Compact(users)) != 20 {
				t.Errorf("%s: %v, %v", name, users, err)
			}
			bodies, err := conn.Bodies(t.Context(), append(seqs, 7))
			if err != nil || len(bodies) != 20 {
				t.Errorf("%d bodies: %v", len(bodies), err)
			}
		}
		found, _, err := conn.NotifiedLog().Of(t.Context(), stream.NotifiedAt{Room: "!r", RoomSeq: 1, Spans: spans})
		if err != nil || len(found) == 0 {
			t.Fatal(err)
		}
		for _, seq := range []uint64{found[0].Seq, 7} {
			deleted := make(chan error, 1)
			conn.DeleteLogged(seq, func(err error) { deleted <- err })
			if err := <-deleted; err != nil {
				t.Error(err)
			}
		}
		if bodies, err := conn.Bodies(t.Context(), []uint64{found[0].Seq, found[1].Seq}); err != nil || len(bodies) != 1 {
			t.Errorf("%d bodies: %v", len(bodies), err)
		}
	})
}
