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
	"poked/events/natstest"
	"poked/events/stream"
)

func putPushers(t *testing.T, conn *stream.Conn, user events.UserID, version int64, pushers ...events.Pusher) {
	t.Helper()
	if err := conn.PutPushers(t.Context(), events.UserPushers{UserID: user, Version: version, Pushers: pushers}); err != nil {
		t.Fatal(err)
	}
}

// readPart returns the versions in a partition, by user; 0 for a user whose pushers
// were deleted.
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

// A read of a partition yields only its own users, including those whose pushers were
// deleted, and those that change during the read.
func TestPushersInAPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conn := natstest.StartServer(t).Connect(natstest.Topology())
		want := map[events.UserID]int64{}
		var mine []events.UserID
		for i := range 2000 { // more than one batch of the server
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
			for version := range int64(3) { // of a user who was yielded, and of the last users
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
				t.Errorf("%s has version %d, want %d; yielded: %t", user, seen, version, ok)
			}
		}
		if len(got) != len(want) {
			t.Errorf("%d users yielded, want %d", len(got), len(want))
		}
		if got := readPart(t, conn, 0, func() {}); len(got)+len(want) != 2000 {
			t.Errorf("%d users in the other partition", len(got))
		}
	})
}

// A read during which the connection was lost fails or is complete.
func TestPushersInAPartitionFailWhenNATSWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		all := 0
		for i := range 2000 {
			user := events.UserID(fmt.Sprintf("@user%d:x", i))
			putPushers(t, conn, user, 1, events.Pusher{Pushkey: "k"})
			if events.PartitionOf(events.Token(user), 2) == 0 {
				all++
			}
		}
		var failed error
		yielded := 0
		for _, err := range conn.PushersIn(t.Context(), 0) {
			if failed = err; err != nil {
				break
			}
			if yielded++; yielded == 1 {
				server.Stop()
				server.Start()
				eventstest.WaitFor(t, "the connection", conn.Connected)
				<-time.After(time.Second)
			}
		}
		if failed == nil && yielded != all {
			t.Errorf("%d of %d users were yielded, without an error", yielded, all)
		}
	})
}

// A long read logs its progress, and no longer once it is complete.
func TestReadingABucketShowsItsProgress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var text strings.Builder
		log := slog.New(slog.NewTextHandler(&text, nil))
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		for i := range 10 {
			putPushers(t, conn, events.UserID(fmt.Sprintf("@user%d:x", i)), 1, events.Pusher{Pushkey: "k"})
		}
		slow, err := stream.Connect(t.Context(), stream.Config{Name: "slow", InProcess: server, Log: log})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = slow.Close() }()
		ctx, stop := context.WithCancel(t.Context())
		yielded := 0
		err = slow.WatchPushers(ctx, func(events.UserPushers) {
			<-time.After(time.Second)
			if yielded++; yielded == 20 {
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
			t.Errorf("%d lines for ten seconds:\n%s", lines, text.String())
		}
	})
}
