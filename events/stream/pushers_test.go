package stream_test

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/stream"
)

func putPushers(t *testing.T, conn *stream.Conn, user events.UserID, version int64, pushers ...events.Pusher) {
	t.Helper()
	if err := conn.PutPushers(t.Context(), events.UserPushers{UserID: user, Version: version, Pushers: pushers}); err != nil {
		t.Fatal(err)
	}
}

// readPart returns the versions that stand in a partition, by user; 0 for whose
// pushers are gone.
func readPart(t *testing.T, conn *stream.Conn, part int, each func()) map[events.UserID]int64 {
	t.Helper()
	got, last := map[events.UserID]int64{}, uint64(0)
	for set, err := range conn.PushersIn(t.Context(), part) {
		if err != nil {
			t.Fatal(err)
		}
		if set.Revision <= last {
			t.Errorf("revision %d after %d", set.Revision, last)
		}
		last = set.Revision
		got[set.UserID] = set.Version
		each()
	}
	return got
}

// A partition is read with its own users only, those whose pushers are gone, and
// those who change while it is read.
func TestPushersInAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := eventstest.StartServer(t).Connect(eventstest.Topology())
		want := map[events.UserID]int64{}
		var mine []events.UserID
		for i := range 2000 { // more than stand ready in one go
			user := events.UserID(fmt.Sprintf("@user%d:x", i))
			putPushers(t, conn, user, 1, events.Pusher{Pushkey: "k"})
			if events.PartitionOf(events.Token(user), 2) == 1 {
				mine = append(mine, user)
				want[user] = 1
			}
		}
		putPushers(t, conn, mine[0], 2)
		want[mine[0]] = 0
		once := true
		got := readPart(t, conn, 1, func() {
			if !once {
				return
			}
			once = false
			for version := range int64(3) { // of a user who has been told, and of those who are told last
				putPushers(t, conn, mine[1], 2+version, events.Pusher{Pushkey: "k"})
			}
			for _, user := range mine[len(mine)-100:] {
				putPushers(t, conn, user, 2, events.Pusher{Pushkey: "k"})
				want[user] = 2
			}
		})
		want[mine[1]] = 4
		for user, version := range want {
			if seen, ok := got[user]; !ok || version == 0 && seen != 0 {
				t.Errorf("%s has version %d, want %d; told: %t", user, seen, version, ok)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d users told, want %d", len(got), len(want))
		}
		if got := readPart(t, conn, 0, func() {}); len(got)+len(want) != 2000 {
			t.Errorf("%d users in the other partition", len(got))
		}
	})
}

// A reading that goes on when the connection was lost fails, or misses nothing.
func TestPushersInAPartitionFailWhenNATSWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		all := 0
		for i := range 2000 {
			user := events.UserID(fmt.Sprintf("@user%d:x", i))
			putPushers(t, conn, user, 1, events.Pusher{Pushkey: "k"})
			if events.PartitionOf(events.Token(user), 2) == 0 {
				all++
			}
		}
		var failed error
		told := 0
		for _, err := range conn.PushersIn(t.Context(), 0) {
			if failed = err; err != nil {
				break
			}
			if told++; told == 1 {
				server.Stop()
				server.Start()
				eventstest.WaitFor(t, "the connection", conn.Connected)
				<-time.After(time.Second)
			}
		}
		if failed == nil && told != all {
			t.Errorf("%d of %d were told, and no error", told, all)
		}
	})
}

// What takes long to read says how far it is, and when it has been read no more.
func TestReadingABucketShowsItsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		server := eventstest.StartServer(t)
		conn := server.Connect(eventstest.Topology())
		for i := range 10 {
			putPushers(t, conn, events.UserID(fmt.Sprintf("@user%d:x", i)), 1, events.Pusher{Pushkey: "k"})
		}
		slow, err := stream.Connect(t.Context(), stream.Config{Name: "slow", InProcess: server, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = slow.Close() }()
		ctx, stop := context.WithCancel(t.Context())
		told := 0
		err = slow.WatchPushers(ctx, func(events.UserPushers) {
			<-time.After(time.Second)
			if told++; told == 20 {
				stop()
			}
		}, func() {
			for i := range 10 {
				putPushers(t, conn, events.UserID(fmt.Sprintf("@user%d:x", i)), 2, events.Pusher{Pushkey: "k"})
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Count(text.String(), "reading a bucket"); lines != 3 || !strings.Contains(text.String(), "values=4 total=10 per_second=1") {
			t.Errorf("%d lines tell of ten seconds:\n%s", lines, text.String())
		}
	})
}
