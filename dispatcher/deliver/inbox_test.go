package deliver

import (
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/partition"
	"poked/events/stream"
)

// storedOne is a notification that the log should hold.
type storedOne struct {
	threadKey
	place
}

// inboxStory is a user's log, what it should hold, and an inbox that follows it.
type inboxStory struct {
	t      *testing.T
	random *rand.Rand
	server *eventstest.Server
	conn   *stream.Conn
	d      *Deliverer
	in     *inbox
	log    []storedOne
	seq    uint64 // of NOTIFICATIONS
	event  uint64 // of ROOMS
}

// TestInboxIsWhatTheLogHolds lets notifications arrive, some of them late, and be read and
// redacted at random, and forgets the inbox now and then. After each step it counts what the
// log holds, and the log holds what has not been read.
func TestInboxIsWhatTheLogHolds(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			eventstest.BubbleOf(t, 1, func(t *testing.T, server *eventstest.Server, conn *stream.Conn) {
				s := &inboxStory{t: t, random: rand.New(rand.NewPCG(seed, 1)), server: server, conn: conn}
				s.d = New(Config{
					Conn: conn, Directory: directoryOf(t, conn, "@bob:x"), Counts: new(Counters), Badge: BadgeMessages,
					Recent: 1 << 20, Owned: new(atomic.Int64), Log: slog.New(slog.DiscardHandler),
				})
				s.d.follower = &partition.Follower{}
				s.in = &s.d.recipient("@bob:x").unread
				for range 150 {
					s.step()
					s.check()
				}
			})
		})
	}
}

func (s *inboxStory) step() {
	room := events.RoomID(fmt.Sprintf("!r%d", s.random.IntN(3)))
	thread := events.EventID([]string{"", "", "$root"}[s.random.IntN(3)])
	switch s.random.IntN(8) {
	case 0:
		s.read(room, events.Read{UpTo: s.random.Uint64N(s.event + 1), Whole: true})
	case 1:
		s.read(room, events.Read{UpTo: s.random.Uint64N(s.event + 1), Thread: thread})
	case 2:
		s.redact()
	case 3:
		if s.random.IntN(3) == 0 {
			s.in.release()
		}
	default:
		s.notify(room, thread)
	}
}

// notify stores a notification. One of nine is a dead letter that is tried again, of an event
// before the newest.
func (s *inboxStory) notify(room events.RoomID, thread events.EventID) {
	s.event++
	s.seq++
	n := notificationOf(s.event, false)
	key := threadKey{room, events.Token(thread)}
	if s.random.IntN(9) == 0 {
		n.RoomSeq = 1 + s.random.Uint64N(s.event)
		n.Only = "p"
		key.thread = events.Retried
	}
	s.server.Publish("notify.0."+events.Token(events.UserID("@bob:x"))+"."+events.Token(room)+"."+key.thread, string(n.AppendJSON(nil)))
	s.log = append(s.log, storedOne{key, placeOf(s.seq, n)})
	if s.d.isKnown(s.in) {
		s.in.add(key, placeOf(s.seq, n))
	}
}

func (s *inboxStory) read(room events.RoomID, read events.Read) {
	if read.UpTo == 0 {
		return
	}
	s.learn()
	s.seq++
	s.server.Publish("read.0."+events.Token(events.UserID("@bob:x"))+"."+events.Token(room)+"."+events.WholeRoom, "{}")
	before := s.log
	s.log = slices.DeleteFunc(slices.Clone(s.log), func(one storedOne) bool {
		concerned := read.Whole || one.thread == events.Token(read.Thread) || one.thread == events.Retried
		return one.room == room && concerned && one.roomSeq <= read.UpTo
	})
	requests := s.conn.NewRemoval()
	n, known := s.in.read("@bob:x", room, read, s.seq, requests)
	switch {
	case !known:
		if _, err := s.conn.MarkRead(s.t.Context(), "@bob:x", room, read, s.seq); err != nil {
			s.t.Fatal(err)
		}
		s.in.doubt()
	case n != len(before)-len(s.log):
		s.t.Errorf("%+v in %s removes %d, want %d", read, room, n, len(before)-len(s.log))
	case n > 0:
		s.send(requests)
	}
}

func (s *inboxStory) redact() {
	if len(s.log) == 0 {
		return
	}
	i := s.random.IntN(len(s.log))
	one := s.log[i]
	s.log = slices.Delete(slices.Clone(s.log), i, i+1)
	requests := s.conn.NewRemoval()
	requests.Delete(one.seq)
	s.in.redact(one.room, one.seq)
	s.send(requests)
}

func (s *inboxStory) send(requests *stream.Removal) {
	done := make(chan error, 1)
	requests.Send(func(err error) { done <- err })
	if err := <-done; err != nil {
		s.t.Fatal(err)
	}
}

func (s *inboxStory) learn() {
	if err := s.d.learnUnread(s.t.Context(), "@bob:x", 0); err != nil {
		s.t.Fatal(err)
	}
}

func (s *inboxStory) check() {
	s.t.Helper()
	var want, got []uint64
	messages := uint64(0)
	for _, one := range s.log {
		want = append(want, one.seq)
		if one.thread != events.Retried {
			messages++
		}
	}
	for _, msg := range s.server.Stored(stream.Notifications, "notify.") {
		got = append(got, msg.Seq)
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("the log holds %v, want %v", got, want)
	}
	s.learn()
	if s.in.badge(BadgeMessages) != messages {
		s.t.Fatalf("%d are counted, want %d", s.in.messages, messages)
	}
	if known, unknown := s.in.after(0); len(unknown) == 0 && len(known) != len(want) {
		s.t.Fatalf("%d are known, want %d", len(known), len(want))
	}
	places := 0
	for _, t := range s.in.threads {
		places += len(t.since)
	}
	if bytes := places*placeBytes + len(s.in.threads)*threadBytes; bytes != s.in.bytes {
		s.t.Fatalf("%d bytes are accounted for, want %d", s.in.bytes, bytes)
	}
}
