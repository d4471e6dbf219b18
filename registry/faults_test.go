package registry

import (
	"log/slog"
	"slices"
	"strings"
	"testing"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/publish"
	"poked/registry/store"
)

// fault is a fault of one hand-off of the registry to NATS, the disk or itself.
type fault struct {
	name string
	// arm makes it happen next. met reports whether it has happened.
	arm func(*house, *natstest.Link) (met func() bool)
	// mend ends a fault that does not end by itself.
	mend func(*house)
	// dies reports that the process ends with the fault.
	dies bool
	// publishes reports that the fault affects bob's change, before any message
	// arrives.
	publishes bool
}

// faultTable lists every hand-off of the registry, each failed, done but reported as
// failed, and followed by a crash. A commit is reported only to its own process. A
// commit that was done but reported as failed is a message that was processed and not
// acknowledged, or a row that was published and not deleted.
func faultTable() []fault {
	var table []fault
	for name, subject := range map[string]string{
		"publish PUSHERS": "$KV.PUSHERS.", "publish PUSH_RULES": "$KV.PUSH_RULES.", "publish a barrier": "room.",
	} {
		table = append(table,
			fault{name: name + "/refused", arm: refuse(subject), publishes: true},
			fault{name: name + "/lost", arm: onLink(subject, natstest.Lose), publishes: true},
			fault{name: name + "/happened but reported as failed", arm: onLink(subject, natstest.LoseAnswer), publishes: true},
			fault{name: name + "/killed instead", arm: onLink(subject, natstest.Lose), publishes: true, dies: true},
			fault{name: name + "/killed right after", arm: onLink(subject, natstest.Kill), publishes: true, dies: true},
		)
	}
	table = append(table,
		fault{name: "delete the row/failed", arm: onDelete("outbox", "the outbox cannot be published"), mend: mendDelete, publishes: true},
		fault{name: "delete the row/killed instead", arm: onDelete("outbox", "the outbox cannot be published"), mend: mendDelete, publishes: true, dies: true},
		fault{name: "delete the row/killed right after", arm: afterDelete, publishes: true, dies: true},
		fault{name: "commit the effect of a message/failed", arm: onDelete("pushers", "cannot work on the queue"), mend: mendDelete},
		fault{name: "commit the effect of a message/killed instead", arm: onDelete("pushers", "cannot work on the queue"), mend: mendDelete, dies: true},
	)
	for _, stream := range []string{"REJECTED", "ACCOUNTS"} {
		subject, name := "$JS.ACK."+stream+".", "acknowledge "+stream
		table = append(table,
			fault{name: name + "/failed", arm: onLink(subject, natstest.Refuse)},
			fault{name: name + "/lost", arm: onLink(subject, natstest.Lose)},
			fault{name: name + "/killed instead", arm: onLink(subject, natstest.Lose), dies: true},
			fault{name: name + "/killed right after", arm: onLink(subject, natstest.LoseAnswer), dies: true},
		)
	}
	return table
}

// onLink breaks the next message on a subject on its way to NATS.
func onLink(subject string, f natstest.Fault) func(*house, *natstest.Link) func() bool {
	return func(_ *house, link *natstest.Link) func() bool { return link.Break(subject, f) }
}

// refuse refuses a message as often as the NATS client retries it.
func refuse(subject string) func(*house, *natstest.Link) func() bool {
	return func(_ *house, link *natstest.Link) (met func() bool) {
		for range 3 {
			met = link.Break(subject, natstest.Refuse)
		}
		return met
	}
}

// onDelete makes each deletion from a table fail until mendDelete. The fault has
// happened once the log contains logged.
func onDelete(table, logged string) func(*house, *natstest.Link) func() bool {
	return func(h *house, _ *natstest.Link) func() bool {
		h.forbid("DELETE", table)
		return func() bool { return strings.Contains(h.log.String(), logged) }
	}
}

func mendDelete(h *house) { h.allow() }

// afterDelete breaks nothing, and has happened once everything was published and
// deleted.
func afterDelete(h *house, _ *natstest.Link) func() bool {
	return func() bool { return h.count("outbox") == 0 }
}

// TestFaultTable breaks each hand-off in each way while changes and messages are in
// progress, and heals it. In the end the buckets equal the database, every message was
// applied, and no old rejection has removed a newer pusher.
func TestFaultTable(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
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
			h.set("bob-phone", named("bob")) // the only change of bob's pushers
			h.change("PUT", pushRules+"global/room/a", "bob-phone", firstRule)
			if f.publishes {
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

// overLink opens the registry over a connection that a test can break.
func (h *house) overLink() *natstest.Link {
	h.t.Helper()
	link := h.nats.Link()
	link.Log = slog.New(slog.NewTextHandler(h.log, nil))
	h.conn = link.Connect(h.t, natstest.Topology())
	h.open()
	return link
}

func named(pushkey string) keys { return body(keys{"pushkey": pushkey}) }

// rejectionOf returns the rejection of alice's pusher as it is now.
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

// arrive publishes rejections, and the logout of alice's phone.
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
		if len(h.nats.Stored(stream, "")) > 0 { // otherwise NATS delivers it again only after half a minute
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
	if rules, err := h.inBucket(store.InPushRules); err != nil || rules[alice].Version != 2 {
		h.t.Errorf("the bucket has version %d of the rules, want 2 (%v)", rules[alice].Version, err)
	}
}
