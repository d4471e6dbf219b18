package owner_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/owner"
)

// An owner's answer arrives whole, and what is too long for one answer in several.
func TestListNotifications(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn, owning := server.Connect(natstest.Topology()), server.Connect(natstest.Topology())
		part := conn.Topology().PartOf("@a:x")
		stop, err := owner.Serve(t.Context(), owning, part, owner.Answers{List: func(_ context.Context, q owner.ListQuery) (page []owner.ListedNotification, next uint64, err error) {
			if q.User != "@a:x" || q.Limit != 40 || !q.Highlight {
				return nil, 0, errors.New("not what was asked")
			}
			for seq := uint64(40); seq > 0 && len(page) < q.Limit; seq-- {
				if q.Before == 0 || seq < q.Before {
					n := eventstest.Notification()
					n.Body = []byte(`{"content":"` + strings.Repeat("x", 60_000) + `"}`)
					page = append(page, owner.ListedNotification{Notification: n, Seq: seq, Room: "!r"})
				}
			}
			return page, 0, nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		var seqs []uint64
		answers := 0
		for query := (owner.ListQuery{User: "@a:x", Limit: 40, Highlight: true}); ; answers++ {
			page, next, err := owner.NewClient(conn).ListNotifications(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			for _, n := range page {
				seqs = append(seqs, n.Seq)
				if n.Room != "!r" || n.EventID != "$e" || len(n.Body) < 60_000 {
					t.Errorf("got %+v", n)
				}
			}
			if query.Before = next; next == 0 {
				break
			}
		}
		if len(seqs) != 40 || seqs[0] != 40 || seqs[39] != 1 || answers < 3 {
			t.Errorf("%v in %d answers", seqs, answers)
		}
		stop()
	})
}

// While no dispatcher owns the partition, or it cannot answer yet, the question is repeated
// for as long as a take-over takes.
func TestListNotificationsDuringATakeOver(t *testing.T) {
	for _, owned := range []time.Duration{0, 5 * time.Second, time.Hour} {
		synctest.Test(t, func(t *testing.T) {
			server := natstest.StartServer(t)
			conn, owning := server.Connect(natstest.Topology()), server.Connect(natstest.Topology())
			began := time.Now()
			stop, err := owner.Serve(t.Context(), owning, conn.Topology().PartOf("@a:x"), owner.Answers{List: func(context.Context, owner.ListQuery) ([]owner.ListedNotification, uint64, error) {
				if time.Since(began) < owned {
					return nil, 0, errors.New("not yet")
				}
				return []owner.ListedNotification{{Notification: eventstest.Notification(), Seq: 1}}, 0, nil
			}})
			if err != nil {
				t.Fatal(err)
			}
			page, _, err := owner.NewClient(conn).ListNotifications(t.Context(), owner.ListQuery{User: "@a:x", Limit: 1})
			if well := owned < time.Minute; well != (err == nil && len(page) == 1) || time.Since(began) > 10*time.Second {
				t.Errorf("after %v: %v, %v", time.Since(began), page, err)
			}
			stop()
			if page, _, err := owner.NewClient(conn).ListNotifications(t.Context(), owner.ListQuery{User: "@a:x", Limit: 1}); err == nil {
				t.Errorf("answered with %v by nobody", page)
			}
		})
	}
}
