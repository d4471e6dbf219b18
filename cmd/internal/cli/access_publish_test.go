package cli

import (
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events"
	"poked/events/eventstest"
)

// No role may write what belongs to another: a dispatcher, for example, publishes no room
// events (but the redacted form of state), creates no streams and sets no pushers.
func TestNoRoleWritesForAnother(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g := startGuarded(t)
	g.start()
	room, user := events.Token("!room:example.org"), events.Token("@alice:example.org")
	var asking sync.WaitGroup
	for role, subjects := range map[string][]string{
		"dispatcher": {
			"room." + room + ".event", "room." + room + ".state._._", "rooms.0." + room + ".event", "state." + room + "._._",
			"account." + user + ".logout", "$KV.PUSHERS.0." + user, "$KV.VAPID.key", "$KV.PUSH_RULES.0." + user,
			"$JS.API.STREAM.CREATE.SPY", "$JS.API.STREAM.UPDATE.ROOMS", "$JS.API.STREAM.DELETE.ROOMS", "$JS.API.STREAM.PURGE.ROOMS", "$JS.API.STREAM.PURGE.NOTIFICATIONS",
			"poked.dispatcher.other.skip", "poked.dispatcher.other.retry",
		},
		"registry":   {"room." + room + ".state._._", "room." + room + ".state.thread._", "log.0", "$KV.BACKLOG.0.x", "$JS.API.STREAM.DELETE.ROOMS"},
		"operator":   append(waysToVAPID(), "$KV.PUSHERS.0."+user, "$KV.POSITIONS.match.0", "$JS.API.STREAM.DELETE.ROOMS", "$JS.API.CONSUMER.CREATE.KV_PUSHERS"),
		"homeserver": append(waysToVAPID(), "log.0", "rejected."+user, "dead.0."+user, "$JS.API.STREAM.DELETE.ROOMS"),
		"bridge": append(waysToVAPID(),
			"log.0", "rejected."+user, "$KV.PUSHERS.0."+user, "$JS.API.STREAM.CREATE.SPY", "$JS.API.STREAM.DELETE.ROOMS",
			"$JS.API.DIRECT.GET.NOTIFICATIONS", "$JS.API.CONSUMER.CREATE.NOTIFICATIONS",
		),
	} {
		nc := g.connect(role)
		for _, subject := range subjects {
			asking.Go(func() {
				if answer, err := nc.Request(subject, []byte(`{}`), time.Second); err == nil {
					t.Errorf("%s may publish to %s: %s", role, subject, answer.Data)
				}
			})
		}
	}
	asking.Wait()
	if n := g.messages(g.connect("registry"), "ROOMS"); n != 0 {
		t.Errorf("ROOMS holds %d events", n)
	}
	// The homeserver may publish, so the test can fail.
	publishAll(t, g.url("homeserver"), memberEvent("alice"))
}

// waysToVAPID returns the subjects by which the private key for Web Push could be read, or replaced.
func waysToVAPID() []string {
	return []string{
		"$KV.VAPID.key", "$JS.API.DIRECT.GET.KV_VAPID.$KV.VAPID.key", "$JS.API.DIRECT.GET.KV_VAPID", "$JS.API.STREAM.MSG.GET.KV_VAPID",
		"$JS.API.CONSUMER.CREATE.KV_VAPID", "$JS.API.CONSUMER.CREATE.KV_VAPID.spy", "$JS.API.CONSUMER.CREATE.KV_VAPID.spy.$KV.VAPID.key",
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_VAPID.spy", "$JS.API.CONSUMER.MSG.NEXT.KV_VAPID.spy", "$JS.API.STREAM.SNAPSHOT.KV_VAPID",
	}
}

// TestRolesMayPublish publishes as each role on the subjects that no other test covers.
func TestRolesMayPublish(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g := startGuarded(t)
	for role, subjects := range map[string][]string{
		"dispatcher": {
			"rejected.user", "dead.0.user", "log.0", "$KV.INBOX.0.user.room", "room.room.state.bS5yb29tLmF2YXRhcg._",
			"$KV.WORKERS.match.0", "$KV.BACKLOG.0.pusher", "$KV.GATEWAYS.paused.origin", "$JS.API.CONSUMER.CREATE.KV_WORKERS.name.$KV.WORKERS.>",
			"$JS.API.DIRECT.GET.KV_WORKERS.$KV.WORKERS.match.0", "$JS.API.STREAM.MSG.GET.KV_PUSHERS",
			"$JS.API.CONSUMER.CREATE.KV_VAPID.name.$KV.VAPID.key", "$JS.API.STREAM.MSG.GET.KV_VAPID",
			"$JS.API.STREAM.MSG.DELETE.NOTIFICATIONS", "$JS.API.DIRECT.GET.KV_INBOX", "$JS.API.STREAM.MSG.GET.KV_INBOX",
			"$JS.API.CONSUMER.CREATE.KV_INBOX.name.$KV.INBOX.0.user.*",
			"$SRV.PING.poked-dispatcher", "poked.dispatcher.other.state", "poked.dispatcher.other.gateways",
		},
		"registry": append(acknowledgements("ACCOUNTS", "REJECTED"), "$KV.VAPID.key", "$JS.API.STREAM.MSG.GET.KV_VAPID", "room.room.receipt", "room.room.event", "room.room.barrier", "room.room.state.thread.thread.user", "$JS.API.DIRECT.GET.ROOM_STATE", "poked.notifications.0", "poked.pushers.0.test", "poked.pushers.0.states"),
	} {
		g.mayPublish(role, subjects)
	}
}

// acknowledgements returns the subjects of acknowledgements for streams, in both formats,
// with all the tokens that a consumer's subjects have.
func acknowledgements(streams ...string) (subjects []string) {
	for _, stream := range streams {
		rest := stream + ".consumer.1.7.7.1700000000000000000.0"
		subjects = append(subjects, "$JS.ACK."+rest, "$JS.ACK._.Xm2pGhMN."+rest, "$JS.ACK.domain.Xm2pGhMN."+rest)
	}
	return subjects
}

// mayPublish fails the test if a role may not publish on one of the subjects.
func (g guarded) mayPublish(role string, subjects []string) {
	g.t.Helper()
	refused := make(chan error, 100)
	nc, err := nats.Connect(g.url(role), nats.ErrorHandler(func(_ *nats.Conn, _ *nats.Subscription, err error) { refused <- err }))
	if err != nil {
		g.t.Fatal(err)
	}
	defer nc.Close()
	// Refusals arrive in order. No role may publish on this subject, so its refusal must be
	// the only one.
	for _, subject := range append(subjects, "nobody.may") {
		if err := nc.Publish(subject, nil); err != nil {
			g.t.Fatal(err)
		}
	}
	for err := range refused {
		if strings.Contains(err.Error(), "nobody.may") {
			return
		}
		g.t.Errorf("%s: %v", role, err)
	}
}
