package stream_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events"
	"poked/events/natstest"
	"poked/events/stream"
)

// inboxOf returns the snapshots of the only partition for a worker that has taken them over.
func inboxOf(t *testing.T, conn *stream.Conn, worker string) (in *stream.Inbox, position string) {
	t.Helper()
	in, found, err := conn.Inbox(t.Context(), 0, worker)
	if err == nil {
		err = in.Claim(t.Context(), []byte(worker))
	}
	if err != nil {
		t.Fatal(err)
	}
	return in, found.Value
}

// stored returns what is stored for a user.
func storedFor(t *testing.T, in *stream.Inbox, users ...events.UserID) (all map[events.RoomID]string) {
	t.Helper()
	values, err := in.Load(t.Context(), users)
	if err != nil {
		t.Fatal(err)
	}
	all = map[events.RoomID]string{}
	for _, v := range values {
		all[v.Room] = string(v.User) + string(v.Value)
	}
	return all
}

// A worker that has lost the partition stores nothing: neither keys nor the position.
func TestInboxFencesTheWorkerOfBefore(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		first, position := inboxOf(t, conn, "one")
		if position != "" {
			t.Errorf("the position is %q", position)
		}
		value := func(room events.RoomID, text string) stream.InboxValue {
			return stream.InboxValue{User: "@a:x", Room: room, Value: []byte(text)}
		}
		if err := first.Write(t.Context(), []stream.InboxValue{value("!a", "1"), value("!b", "1")}, []byte("p1")); err != nil {
			t.Fatal(err)
		}
		second, position := inboxOf(t, conn, "two")
		if position != "p1" {
			t.Errorf("the position is %q", position)
		}
		var conflict *stream.ConflictError
		for range 2 {
			err := first.Write(t.Context(), []stream.InboxValue{value("!a", "late"), value("!c", "late")}, []byte("late"))
			if !errors.As(err, &conflict) {
				t.Errorf("a worker that has lost the partition writes: %v", err)
			}
		}
		if err := second.Write(t.Context(), []stream.InboxValue{value("!b", "2")}, []byte("p2")); err != nil {
			t.Fatal(err)
		}
		if got := fmt.Sprint(storedFor(t, second, "@a:x")); got != "map[!a:@a:x1 !b:@a:x2]" {
			t.Errorf("stored are %s", got)
		}
		if n := len(server.Stored("KV_INBOX", "$KV.INBOX.0.")); n != 3 {
			t.Errorf("%d values of keys are stored, want 3", n)
		}
	})
}

// TestFaultTableInboxWrite loses a write and its answer in each way, and writes again.
func TestFaultTableInboxWrite(t *testing.T) {
	for name, fault := range natstest.Faults() {
		if fault == natstest.Kill {
			continue
		}
		t.Run(name, func(t *testing.T) {
			natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, _ *stream.Conn) {
				link := server.Link()
				conn := link.Connect(t, stream.Topology{Partitions: 1, Replicas: 1})
				in, _ := inboxOf(t, conn, "one")
				met := link.Break("$KV.INBOX.position.", fault)
				values := []stream.InboxValue{{User: "@a:x", Room: "!a", Value: []byte("1")}, {User: "@a:x", Room: "!b", Value: []byte("2")}}
				err := in.Write(t.Context(), values, []byte("p1"))
				for tries := 0; err != nil && tries < 20; tries++ {
					if conflict := new(stream.ConflictError); errors.As(err, &conflict) {
						t.Fatalf("takes its own write for another's: %v", err)
					}
					err = in.Write(t.Context(), values, []byte("p1"))
				}
				if err != nil || !met() {
					t.Fatalf("the fault happened: %t; at last %v", met(), err)
				}
				if got := fmt.Sprint(storedFor(t, in, "@a:x")); got != "map[!a:@a:x1 !b:@a:x2]" {
					t.Errorf("stored are %s", got)
				}
			})
		})
	}
}

// What many users have in very many rooms is loaded, whatever fits one answer.
func TestInboxLoadsManyRooms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(stream.Topology{Partitions: 1, Replicas: 1})
		in, _ := inboxOf(t, conn, "one")
		rooms := map[events.UserID]int{"@none:x": 0, "@few:x": 3, "@some:x": 700, "@more:x": 700, "@many:x": 1300}
		var users []events.UserID
		for user, n := range rooms {
			users = append(users, user)
			for i := 0; i < n; i += stream.InboxBatch {
				var values []stream.InboxValue
				for k := i; k < min(n, i+stream.InboxBatch); k++ {
					values = append(values, stream.InboxValue{User: user, Room: events.RoomID(fmt.Sprintf("!r%d", k)), Value: []byte("1")})
				}
				if err := in.Write(t.Context(), values, []byte("p")); err != nil {
					t.Fatal(err)
				}
			}
		}
		values, err := in.Load(t.Context(), users)
		if err != nil {
			t.Fatal(err)
		}
		got := map[events.UserID]int{"@none:x": 0}
		for _, v := range values {
			got[v.User]++
		}
		if fmt.Sprint(got) != fmt.Sprint(rooms) {
			t.Errorf("loaded %v, want %v", got, rooms)
		}
	})
}

// A log of an earlier version is refused, with a sentence that says what to do.
func TestLogOfAnEarlierVersionIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		server.Connect(natstest.Topology())
		server.ChangeSubjects(stream.Notifications, "notify.*.*.*.*", "read.*.*.*.*", "redacted.*.*.*")
		conn := server.Dial()
		for name, err := range map[string]error{
			"setup": conn.Setup(t.Context(), natstest.Topology()), "adopt": conn.Adopt(t.Context(), natstest.Topology()), "join": conn.Join(t.Context()),
		} {
			if !errors.Is(err, stream.ErrEarlier) {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
}

// A replica that does not know the newest write of the worker is not believed.
func TestInboxLoadsNothingFromBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := natstest.StartServer(t).Link()
		conn := link.Connect(t, stream.Topology{Partitions: 1, Replicas: 1})
		in, _ := inboxOf(t, conn, "one")
		for _, behind := range []string{"KV_INBOX", ""} {
			link.Behind(behind)
			if _, err := in.Load(t.Context(), []events.UserID{"@a:x"}); (err != nil) != (behind != "") {
				t.Errorf("%q is behind: %v", behind, err)
			}
		}
	})
}

// More writes are in flight than the server takes for the stream: one more is refused whole,
// and stored once there is room for it.
func TestInboxWriteWaitsForOtherBatches(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		in, _ := inboxOf(t, conn, "one")
		raw, err := nats.Connect("", nats.InProcessServer(server))
		if err != nil {
			t.Fatal(err)
		}
		defer raw.Close()
		for i := range 60 { // of dispatchers that were killed
			err := raw.PublishMsg(&nats.Msg{Subject: fmt.Sprintf("$KV.INBOX.1.a.%d", i), Header: nats.Header{
				"Nats-Batch-Id": {fmt.Sprint("batch ", i)}, "Nats-Batch-Sequence": {"1"},
			}})
			if err != nil {
				t.Fatal(err)
			}
		}
		if err := raw.Flush(); err != nil {
			t.Fatal(err)
		}
		values := []stream.InboxValue{{User: "@a:x", Room: "!a", Value: []byte("1")}}
		err = in.Write(t.Context(), values, []byte("p1"))
		if err == nil {
			t.Error("the server takes more than it has room for: the test shows nothing")
		}
		if conflict := new(stream.ConflictError); errors.As(err, &conflict) {
			t.Fatalf("it is taken for another worker's write: %v", err)
		}
		if got := storedFor(t, in, "@a:x"); len(got) != 0 {
			t.Errorf("of a write that failed (%v), %v is stored", err, got)
		}
		for began := time.Now(); err != nil && time.Since(began) < 30*time.Second; <-time.After(time.Second) {
			err = in.Write(t.Context(), values, []byte("p1"))
		}
		if got := fmt.Sprint(storedFor(t, in, "@a:x")); err != nil || got != "map[!a:@a:x1]" {
			t.Errorf("stored are %s: %v", got, err)
		}
	})
}

// A dispatcher that stops stores the snapshots of all its partitions at once, more of them than
// the server takes at a time. Everything is stored.
func TestInboxManyWriteAtOnce(t *testing.T) {
	const partitions, rooms, size = 64, 10, 40 << 10 // more than a connection buffers
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(stream.Topology{Partitions: partitions, Replicas: 1})
		var all sync.WaitGroup
		begin := make(chan struct{})
		for p := range partitions {
			in, _, err := conn.Inbox(t.Context(), p, "one")
			if err == nil {
				err = in.Claim(t.Context(), []byte("p0"))
			}
			if err != nil {
				t.Fatal(err)
			}
			var values []stream.InboxValue
			for r := range rooms {
				values = append(values, stream.InboxValue{User: "@a:x", Room: events.RoomID(fmt.Sprint("!", r)), Value: make([]byte, size)})
			}
			all.Go(func() {
				<-begin
				if err := in.Write(t.Context(), values, []byte("p1")); err != nil {
					t.Errorf("partition %d: %v", p, err)
				}
			})
		}
		close(begin)
		all.Wait()
	})
}

// The bucket has lost its end, with the newest writes of the worker: what that worker goes on
// from is not there any more, so it has to begin again.
func TestInboxThatLostItsEndIsNoticed(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		in, _ := inboxOf(t, conn, "one")
		for i := range 8 {
			values := []stream.InboxValue{{User: "@a:x", Room: events.RoomID(fmt.Sprint("!", i)), Value: make([]byte, 100)}}
			if err := in.Write(t.Context(), values, []byte("p")); err != nil {
				t.Fatal(err)
			}
		}
		server.LoseEnd(700, "KV_INBOX")
		<-time.After(10 * time.Second) // until connections are back
		err := error(nil)
		for range 3 {
			if err = in.Write(t.Context(), nil, []byte("more")); err == nil {
				break
			}
			if conflict := new(stream.ConflictError); errors.As(err, &conflict) {
				return
			}
		}
		t.Errorf("it goes on: %v", err)
	})
}

// TestInboxLoadedFromAReplicaThatIsBehind asks a replica that has the position, but not what was
// written last: what a worker has written it also loads, or it hears that it cannot.
func TestInboxLoadedFromAReplicaThatIsBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		link := natstest.StartServer(t).Link()
		conn := link.Connect(t, stream.Topology{Partitions: 1, Replicas: 1})
		in, _ := inboxOf(t, conn, "one")
		write := func(value string) {
			t.Helper()
			if err := in.Write(t.Context(), []stream.InboxValue{{User: "@a:x", Room: "!a", Value: []byte(value)}}, []byte("p")); err != nil {
				t.Fatal(err)
			}
		}
		write("1")
		write("2")
		for upTo := uint64(1); upTo <= 5; upTo++ { // the claim has one message, each write two
			link.BehindAt("KV_INBOX", upTo)
			values, err := in.Load(t.Context(), []events.UserID{"@a:x"})
			if behind := upTo < 5; (err != nil) != behind || err == nil && string(values[0].Value) != "2" {
				t.Errorf("up to %d: %v, %v", upTo, values, err)
			}
		}
	})
}
