package registry

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/publish"
)

// fault is a way in which a hand-off between two places that keep things fails.
type fault struct {
	name string
	// arm makes it happen next. What it returns reports whether it has happened.
	arm func(*house, *eventstest.Link) (met func() bool)
	// mend ends what does not end by itself.
	mend func(*house)
	// dies says that the process ends with it.
	dies bool
	// told says that it meets what is told of bob, before anything arrives.
	told bool
}

// faultTable is every hand-off of the registry, failed, happened but reported as
// failed, and with the process killed right after. A commit is reported to its own
// process, which dies with it or goes on: a commit that happened and was reported
// as failed is a message that was worked on and not acknowledged, or a row that
// was told and not deleted.
func faultTable() []fault {
	var table []fault
	for _, b := range []bucket{inPushers, inPushRules} {
		subject, name := "$KV."+string(b)+".", "tell "+string(b)
		table = append(table,
			fault{name: name + "/refused", arm: refuse(subject), told: true},
			fault{name: name + "/lost", arm: onLink(subject, eventstest.Lose), told: true},
			fault{name: name + "/happened but reported as failed", arm: onLink(subject, eventstest.LoseAnswer), told: true},
			fault{name: name + "/killed instead", arm: onLink(subject, eventstest.Lose), told: true, dies: true},
			fault{name: name + "/killed right after", arm: onLink(subject, eventstest.Kill), told: true, dies: true},
		)
	}
	table = append(table,
		fault{name: "delete the row/failed", arm: onDelete("outbox", "the outbox cannot be published"), mend: mendDelete, told: true},
		fault{name: "delete the row/killed instead", arm: onDelete("outbox", "the outbox cannot be published"), mend: mendDelete, told: true, dies: true},
		fault{name: "delete the row/killed right after", arm: afterDelete, told: true, dies: true},
		fault{name: "commit what a message asks/failed", arm: onDelete("pushers", "cannot work on the queue"), mend: mendDelete},
		fault{name: "commit what a message asks/killed instead", arm: onDelete("pushers", "cannot work on the queue"), mend: mendDelete, dies: true},
	)
	for _, stream := range []string{"REJECTED", "ACCOUNTS"} {
		subject, name := "$JS.ACK."+stream+".", "acknowledge "+stream
		table = append(table,
			fault{name: name + "/failed", arm: onLink(subject, eventstest.Refuse)},
			fault{name: name + "/lost", arm: onLink(subject, eventstest.Lose)},
			fault{name: name + "/killed instead", arm: onLink(subject, eventstest.Lose), dies: true},
			fault{name: name + "/killed right after", arm: onLink(subject, eventstest.LoseAnswer), dies: true},
		)
	}
	return table
}

// onLink breaks the next message on a subject on its way to NATS.
func onLink(subject string, f eventstest.Fault) func(*house, *eventstest.Link) func() bool {
	return func(_ *house, link *eventstest.Link) func() bool { return link.Break(subject, f) }
}

// refuse refuses a message as often as the client of NATS tries by itself.
func refuse(subject string) func(*house, *eventstest.Link) func() bool {
	return func(_ *house, link *eventstest.Link) (met func() bool) {
		for range 3 {
			met = link.Break(subject, eventstest.Refuse)
		}
		return met
	}
}

// onDelete has no row go from a table until mendDelete. The log says when one was
// to.
func onDelete(table, logged string) func(*house, *eventstest.Link) func() bool {
	return func(h *house, _ *eventstest.Link) func() bool {
		h.exec("CREATE TRIGGER broken BEFORE DELETE ON " + table + " BEGIN SELECT raise(ABORT, 'broken'); END")
		return func() bool { return strings.Contains(h.log.String(), logged) }
	}
}

func mendDelete(h *house) { h.exec("DROP TRIGGER broken") }

// afterDelete breaks nothing and waits until all was told and deleted.
func afterDelete(h *house, _ *eventstest.Link) func() bool {
	return func() bool { return h.count("outbox") == 0 }
}

// TestFaultTable breaks each hand-off in each way in the middle of everything that
// is handed on, heals, and wants the same in the end: the buckets say what the
// database says, everything that arrived was done, and no old rejection took a
// newer pusher.
func TestFaultTable(t *testing.T) {
	for _, f := range faultTable() {
		t.Run(f.name, func(t *testing.T) {
			h := newHouse(t)
			h.close()
			link := h.overLink()
			h.set("alice-phone", named("phone"))
			for _, pushkey := range []string{"again", "renewed", "gone"} {
				h.set("alice-laptop", named(pushkey))
			}
			stop := h.run()
			h.waitSettled()
			late := h.rejectionOf("renewed")
			h.set("alice-laptop", named("renewed"))
			h.waitSettled()

			met := f.arm(h, link)
			h.set("bob-phone", named("bob")) // what is told of bob is told once
			h.change("PUT", pushRules+"global/room/a", "bob-phone", firstRule)
			if f.told {
				eventstest.WaitFor(t, "the fault", met)
			}
			h.arrive(h.rejectionOf("again"), late, h.rejectionOf("gone"))
			h.set("alice-laptop", named("new"))
			h.put("global/room/a", firstRule)
			eventstest.WaitFor(t, "the fault", met)
			if f.dies {
				link.Cut()
				stop()
				h.close()
				h.overLink()
				h.run()
			}
			h.set("alice-laptop", named("again"))
			h.put("global/room/b", firstRule)
			if f.mend != nil {
				f.mend(h)
			}
			h.checkArrived()
		})
	}
}

// overLink opens the registry over a new connection, which can be broken.
func (h *house) overLink() *eventstest.Link {
	h.t.Helper()
	link := h.nats.Link()
	link.Log = slog.New(slog.NewTextHandler(h.log, nil))
	h.conn = link.Connect(h.t, eventstest.Topology())
	h.open()
	return link
}

func named(pushkey string) keys { return body(keys{"pushkey": pushkey}) }

// rejectionOf is what comes when alice's pusher, as it is now, is refused.
func (h *house) rejectionOf(pushkey string) events.Rejection {
	h.t.Helper()
	for _, p := range h.database()[alice].Pushers {
		if p.Pushkey == pushkey {
			return events.Rejection{UserID: alice, AppID: p.AppID, Pushkey: pushkey, PushkeyTS: p.PushkeyTS, Gateway: "https://g.example:443"}
		}
	}
	h.t.Fatalf("alice has no pusher %s", pushkey)
	return events.Rejection{}
}

// arrive has rejections arrive, and that alice's phone was logged out.
func (h *house) arrive(rejections ...events.Rejection) {
	h.t.Helper()
	conn := h.nats.Dial()
	for _, r := range rejections {
		stored := make(chan error, 1)
		conn.PublishRejection(r, func(err error) { stored <- err })
		if err := <-stored; err != nil {
			h.t.Fatal(err)
		}
	}
	if err := publish.NewPublisher(conn).Logout(h.t.Context(), alice, "PHONE"); err != nil {
		h.t.Fatal(err)
	}
}

// checkArrived waits until every message is processed and the outbox is empty, and checks
// what became of alice's pushers.
func (h *house) checkArrived() {
	h.t.Helper()
	for _, stream := range []string{"REJECTED", "ACCOUNTS"} {
		if len(h.nats.Stored(stream, "")) > 0 { // the next would wait half a minute
			h.nats.Redeliver(stream, "registry")
		}
		eventstest.WaitFor(h.t, stream+" to be empty", func() bool { return len(h.nats.Stored(stream, "")) == 0 })
	}
	h.waitSettled()
	got := h.pushkeys("alice-phone")
	slices.Sort(got)
	if want := []string{"again", "new", "renewed"}; !slices.Equal(got, want) {
		h.t.Errorf("alice has %q, want %q", got, want)
	}
	for reason, want := range map[string]int{"rejected by https://g.example:443": 1, "logout": 1} {
		if n := h.count("removed_pushers WHERE reason = '" + reason + "'"); n < want {
			h.t.Errorf("%d pushers were removed because %s, want %d at least", n, reason, want)
		}
	}
	if dead := h.nats.Stored("DEAD", ""); len(dead) > 0 {
		h.t.Errorf("%d dead letters", len(dead))
	}
	if rules, err := h.inBucket(inPushRules); err != nil || rules[alice].Version != 2 {
		h.t.Errorf("the bucket has version %d of the rules, want 2 (%v)", rules[alice].Version, err)
	}
}
