package deliver

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/stream"
)

// ownerStory is a partition, what happens to its users, and the workers that own it one
// after another.
type ownerStory struct {
	t      *testing.T
	random *rand.Rand
	server *natstest.Server
	conn   *stream.Conn // of match
	users  []events.UserID
	number int // of workers
	link   *natstest.Link
	*soleOwner
	gateways []*eventstest.Gateway // of all workers
	event    uint64                // the newest in ROOMS
	written  map[uint64][]byte     // some messages, by event, to be written again
}

func newOwnerStory(t *testing.T, server *natstest.Server, conn *stream.Conn, seed uint64) *ownerStory {
	s := &ownerStory{
		t: t, random: rand.New(rand.NewPCG(seed, 1)), server: server, conn: conn,
		users: []events.UserID{"@a:x", "@b:x", "@c:x", "@d:x"}, written: map[uint64][]byte{},
	}
	s.begin()
	return s
}

// begin starts another worker.
func (s *ownerStory) begin() {
	s.number++
	s.link = s.server.Link()
	conn := s.link.Connect(s.t, stream.Topology{Partitions: 1, Replicas: 1})
	s.soleOwner = startOwner(s.t, conn, fmt.Sprint("worker", s.number), s.users...)
	s.gateways = append(s.gateways, s.gateway)
}

// kill ends the worker as a crash does.
func (s *ownerStory) kill() {
	s.link.Cut()
	s.halt()
	_ = s.Conn.Close()
}

// step lets something happen.
func (s *ownerStory) step() {
	room := events.RoomID(fmt.Sprintf("!r%d", s.random.IntN(3)))
	user := s.users[s.random.IntN(len(s.users))]
	thread := []events.EventID{"", "", "$t1", "$t2"}[s.random.IntN(4)]
	switch s.random.IntN(20) {
	case 0, 1, 2, 3, 4, 5, 6, 7:
		s.notify(room, thread)
	case 8, 9, 10:
		s.store(events.Read{UserID: user, RoomID: room, UpTo: s.some(), Whole: s.random.IntN(2) == 0, Thread: thread}.AppendJSON(nil))
	case 11:
		s.store(events.Read{UserID: user, RoomID: room, Event: events.EventID(fmt.Sprint("$", s.some())), Whole: true}.AppendJSON(nil))
	case 12:
		s.again()
	case 13:
		s.redact()
	case 14:
		<-time.After(time.Duration(s.random.IntN(20)) * time.Second) // it may store snapshots
	case 15:
		s.halt()
		s.begin()
	case 16:
		s.kill()
		s.begin()
	case 17:
		s.forget()
	default:
		<-time.After(100 * time.Millisecond)
	}
}

func (s *ownerStory) store(message []byte) {
	natstest.Store(s.t, s.conn, "@a:x", message)
}

// some returns the sequence of an event in ROOMS, most likely a new one.
func (s *ownerStory) some() uint64 {
	return s.event - uint64(s.random.IntN(int(min(s.event, 20))+1)) + 1
}

// notify stores an event that notifies some of the users.
func (s *ownerStory) notify(room events.RoomID, thread events.EventID) {
	s.event++
	n := events.LogNotification{
		RoomID: room, About: events.About{EventID: events.EventID(fmt.Sprint("$", s.event)), RoomSeq: s.event, At: time.Now(), Thread: thread},
		Body: fmt.Appendf(nil, `{"event_id":"$%d"}`, s.event), Decisions: []events.Decision{{Prio: "low", Tweaks: []byte(`{}`)}},
	}
	for _, user := range s.users {
		if s.random.IntN(3) > 0 {
			n.Users = append(n.Users, events.LogUser{UserID: user})
		}
	}
	if len(n.Users) == 0 {
		return
	}
	s.store(n.AppendJSON(nil))
	n.Again = true
	s.written[s.event] = n.AppendJSON(nil)
}

// again writes an event again, as match does that does not know whether it was stored.
func (s *ownerStory) again() {
	if message := s.written[s.some()]; message != nil {
		s.store(message)
	}
}

// redact redacts an event.
func (s *ownerStory) redact() {
	at := s.some()
	room := s.roomOf(at)
	found, _, err := s.conn.NotifiedLog().Of(s.t.Context(), stream.NotifiedAt{Room: room, RoomSeq: at, Spans: []stream.Span{{After: 1}}})
	if err != nil {
		s.t.Fatal(err)
	}
	for _, one := range found {
		delete(s.written, at)
		s.store(events.Redaction{RoomID: room, RoomSeq: at, Seq: one.Seq, Users: one.Users}.AppendJSON(nil))
	}
}

func (s *ownerStory) roomOf(event uint64) events.RoomID {
	m, err := events.ParseLog(s.written[event])
	if err != nil {
		return "!none"
	}
	return m.Notify.RoomID
}

// forget makes inboxes leave memory that can: the worker drops those that were not used between two
// ticks.
func (s *ownerStory) forget() {
	s.mu.Lock()
	recent := s.Recent
	s.Recent = 0
	s.mu.Unlock()
	<-time.After(3 * s.conn.TickInterval())
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Recent = recent
}

// check compares what the worker knows with what the log says.
func (s *ownerStory) check(what string) {
	s.t.Helper()
	<-time.After(2 * time.Second)
	log := s.server.ReadLog(s.conn)
	for _, user := range s.users {
		var want []string
		for _, n := range log.Unread(user) {
			want = append(want, fmt.Sprint(n.Seq, n.Room, n.Event))
		}
		slices.Reverse(want)
		if got := s.unread(user); !slices.Equal(got, want) {
			s.t.Errorf("%s: %s has unread %v, want %v", what, user, got, want)
		}
		s.mu.Lock()
		if in := s.inboxes[user]; in != nil && int(in.messages) != len(want) {
			s.t.Errorf("%s: the count of %s is %d, want %d", what, user, in.messages, len(want))
		}
		s.mu.Unlock()
	}
}

// TestInboxIsWhatTheLogSays lets users be notified, also twice of the same, read and have
// events redacted at random, while workers stop, crash and take over from one another: three
// stories, with POKED_SOAK eight.
func TestInboxIsWhatTheLogSays(t *testing.T) {
	eventstest.Long(t)
	stories := uint64(3)
	if eventstest.Soaking() {
		stories = 8
	}
	for seed := range stories {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
				s := newOwnerStory(t, server, conn, seed)
				for i := range 200 {
					s.step()
					if i%5 == 4 {
						s.check(fmt.Sprint("step ", i))
					}
					if t.Failed() {
						break
					}
				}
				s.halt()
			})
		})
	}
}

// TestFaultTablePowerCut cuts the end of the log, of the snapshots, or of both, while a worker
// runs or while none does. After that the log gives sequences out again, to other
// notifications. What users have not read is what the log says all the same. Each row cuts as many
// bytes as its place says, with POKED_SOAK also as many as the others.
func TestFaultTablePowerCut(t *testing.T) {
	eventstest.Long(t)
	cuts := []int64{100, 1500, 4000}
	for i, streams := range [][]string{{stream.Notifications}, {"KV_INBOX"}, {stream.Notifications, "KV_INBOX"}} {
		for j, running := range []bool{true, false} {
			for k, more := range []int{1, 30} { // so that the log ends before where it ended, and beyond
				for n, bytes := range cuts {
					if n != (i+j+2*k)%len(cuts) && !eventstest.Soaking() {
						continue
					}
					t.Run(fmt.Sprintf("%s/%d bytes/running %t/%d more", strings.Join(streams, " and "), bytes, running, more), func(t *testing.T) {
						natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
							powerCut(newOwnerStory(t, server, conn, 7), bytes, running, more, streams)
						})
					})
				}
			}
		}
	}
}

func powerCut(s *ownerStory, bytes int64, running bool, more int, streams []string) {
	for i := range 40 {
		s.notify(events.RoomID(fmt.Sprintf("!r%d", i%3)), "")
		if i%7 == 6 && i < 20 { // what is lost later is no read: those that a worker has applied stay so
			s.store(events.Read{UserID: s.users[i%4], RoomID: "!r0", UpTo: s.event - 5, Whole: true}.AppendJSON(nil))
		}
		<-time.After(time.Second)
	}
	for i := range 25 { // of these some are not on disk yet
		s.notify(events.RoomID(fmt.Sprintf("!r%d", i%4)), "")
	}
	s.check("before")
	if !running {
		s.halt()
	}
	s.server.LoseEnd(bytes, streams...)
	<-time.After(10 * time.Second) // until connections are back
	s.written, s.event = map[uint64][]byte{}, s.event+1000
	for range more {
		s.notify("!new", "")
	}
	if running {
		select { // it notices that the log has lost its end
		case <-s.ended():
		case <-time.After(5 * time.Second):
		}
		s.halt()
	}
	s.begin()
	s.check("after")
	<-time.After(time.Minute)
	s.checkDelivered("!new")
	s.kill()
	s.begin()
	s.check("after a crash")
	s.halt()
}

// ended returns a channel that is closed when the worker's run has ended.
func (s *ownerStory) ended() <-chan struct{} { return s.done }

// A partition is handed over just after its snapshots were stored, and again just after it was
// taken over. No room is stored twice before NATS has it on disk: a power cut could take both
// versions, and the bucket holds none before these. What the next owner needs it reads.
func TestG1HandOverStoresNothingTwiceInAMoment(t *testing.T) {
	eventstest.Long(t)
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		s := newOwnerStory(t, server, conn, 3)
		newest := func() (seq uint64) {
			for _, v := range server.Stored("KV_INBOX", "$KV.INBOX.0.") {
				seq = v.Seq
			}
			return seq
		}
		for range 4 {
			for before := newest(); newest() == before; {
				s.notify("!r", "")
				<-time.After(100 * time.Millisecond)
			}
			s.notify("!r", "")
			<-time.After(200 * time.Millisecond) // until it is applied
			s.halt()
			at := map[string]time.Time{}
			for _, v := range server.Stored("KV_INBOX", "$KV.INBOX.0.") {
				if last := at[v.Subject]; v.Time.Sub(last) < 2*time.Second {
					t.Errorf("%s was stored again after %v", v.Subject, v.Time.Sub(last))
				}
				at[v.Subject] = v.Time
			}
			s.begin()
			s.check("after the hand-over")
		}
		s.halt()
	})
}

// A stored position is that of the flush before: a power cut may take the newest versions of
// what a flush stored, and what they held is read again since the versions before.
func TestG1PositionIsOneFlushLate(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		s := newOwnerStory(t, server, conn, 5)
		flushes := 0
		var before events.InboxPosition
		for began := time.Now(); time.Since(began) < 2*time.Minute; <-time.After(time.Second) {
			s.notify("!r", "")
			stored := server.Stored("KV_INBOX", "$KV.INBOX.position.0")
			now, err := events.ParseInboxPosition(stored[len(stored)-1].Data)
			if err != nil {
				t.Fatal(err)
			}
			if now.Head == before.Head {
				continue
			}
			if flushes++; now.Seq > before.Head {
				t.Errorf("flush %d stored position %d, the one before had stored only up to %d", flushes, now.Seq, before.Head)
			}
			if flushes > 2 && now.Seq == 0 {
				t.Error("the position does not go on")
			}
			before = now
		}
		if s.halt(); flushes < 5 {
			t.Errorf("%d flushes in two minutes", flushes)
		}
	})
}

// TestFaultTableFlush loses the first of several writes of a flush in each way. What it should
// have stored is stored by a later flush, so that a crash after that loses nothing.
func TestFaultTableFlush(t *testing.T) {
	eventstest.Long(t)
	for name, fault := range natstest.Faults() {
		if fault == natstest.Kill {
			continue // TestInboxIsWhatTheLogSays
		}
		t.Run(name, func(t *testing.T) {
			natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
				s := newOwnerStory(t, server, conn, 9)
				met := s.link.Break("$KV.INBOX.position.", fault)
				for i := range 2 * stream.InboxBatch / len(s.users) { // two writes: two of three users are notified
					s.notify(events.RoomID(fmt.Sprintf("!r%d", i)), "")
				}
				for range 90 { // so that the position goes on
					<-time.After(time.Second)
					s.notify("!other", "")
				}
				if !met() {
					t.Error("the fault did not happen")
				}
				s.kill()
				s.begin()
				s.check("after a crash")
				s.halt()
			})
		})
	}
}

// checkDelivered checks that every notification of a room has reached a gateway.
func (s *ownerStory) checkDelivered(room events.RoomID) {
	s.t.Helper()
	arrived := map[string]bool{}
	for _, g := range s.gateways {
		for _, p := range g.Pokes() {
			arrived[p.Pushkey+" "+string(p.EventID)] = true
		}
	}
	log := s.server.ReadLog(s.conn)
	for _, user := range s.users {
		for _, n := range log.Unread(user) {
			if n.Room == room && !arrived[string(user)+" "+string(n.Event)] {
				s.t.Errorf("%s did not get %s", user, n.Event)
			}
		}
	}
}

// A worker whose snapshots another one has taken over ends with the next flush, also if it does
// not learn of it otherwise.
func TestG1FlushEndsTheWorkerOfBefore(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		s := newOwnerStory(t, server, conn, 1)
		in, _, err := conn.Inbox(t.Context(), 0, "another")
		if err == nil {
			err = in.Claim(t.Context(), []byte("{}"))
		}
		if err != nil {
			t.Fatal(err)
		}
		s.notify("!r", "")
		select {
		case <-s.ended():
		case <-time.After(2 * flushEvery):
			t.Error("it goes on")
		}
		s.halt()
	})
}

// After a hand-over in order there is nothing to read again.
func TestHandOverLeavesNothingToReadAgain(t *testing.T) {
	natstest.BubbleOf(t, 1, func(t *testing.T, server *natstest.Server, conn *stream.Conn) {
		s := newOwnerStory(t, server, conn, 1)
		for range 5 {
			s.notify("!r", "")
		}
		<-time.After(2 * unsyncedFor)
		s.halt()
		log, positions := server.Stored(stream.Notifications, "log."), server.Stored("KV_INBOX", "$KV.INBOX.position.0")
		position, err := events.ParseInboxPosition(positions[len(positions)-1].Data)
		if last := log[len(log)-1].Seq; err != nil || position.Seq != last {
			t.Errorf("the position is %d of %d: %v", position.Seq, last, err)
		}
	})
}
