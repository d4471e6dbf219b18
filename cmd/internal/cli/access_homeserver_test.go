package cli

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"poked/events"
	"poked/events/eventstest"
)

// TestAHomeserverSeesNoPushers tries every way to read a pusher with the credentials of the
// homeserver, and subscribes to every subject meanwhile.
func TestAHomeserverSeesNoPushers(t *testing.T) {
	eventstest.Long(t)
	t.Parallel()
	g, gateway := startGuarded(t), startGateway(t)
	_, http := g.start()
	homeserver := g.connect("homeserver")
	received := &recorder{}
	for _, subject := range []string{"$KV.PUSHERS.>", "_INBOX.>", "log.>", "poked.>", "$JS.>", "$SRV.>", "room.>", "rooms.>", "dead.>", ">"} {
		if _, err := homeserver.Subscribe(subject, received.record); err != nil {
			t.Fatal(err)
		}
	}
	setPusher(t, http, gateway.url, "alice-pushkey")
	publishAll(t, g.url("homeserver"), "--historical", memberEvent("alice"), memberEvent("bob"))
	firstPoke(t, g.url("homeserver"), gateway.pokes)
	// Another dispatcher reads all pushers while the homeserver is subscribed.
	second, _ := start(t, "dispatcher", "--nats", g.url("dispatcher"), "--partitions", "2")
	defer second.terminate()
	key := "0." + events.Token("@alice:example.org")
	if events.PartitionOf(events.Token("@alice:example.org"), 2) == 1 {
		key = "1" + key[1:]
	}
	received.askFor(t, homeserver, key)
	for _, word := range []string{"alice-pushkey", "rule_id"} {
		if subject := received.subjectWith(word); subject != "" {
			t.Errorf("the homeserver received %s on %s", word, subject)
		}
	}
	// The same requests succeed for a role that may send them, so the test can fail.
	control := &recorder{}
	control.askFor(t, g.connect("registry"), key)
	eventstest.WaitFor(t, "the registry to read both", func() bool { return control.subjectWith("alice-pushkey") != "" && control.subjectWith("rule_id") != "" })
}

// askFor tries every way to read the value of a key of PUSHERS.
func (r *recorder) askFor(t *testing.T, nc *nats.Conn, key string) {
	t.Helper()
	inbox := nc.NewInbox()
	if _, err := nc.Subscribe(inbox, r.record); err != nil {
		t.Fatal(err)
	}
	var asking sync.WaitGroup
	for subject, body := range waysToPushers(key, inbox) {
		asking.Go(func() {
			if answer, err := nc.Request(subject, []byte(body), time.Second); err == nil {
				r.record(answer)
			}
		})
	}
	asking.Wait()
}

// waysToPushers returns the requests that would show the value of a key of PUSHERS, by
// subject.
func waysToPushers(key, inbox string) map[string]string {
	consumer := fmt.Sprintf(`{"stream_name":"KV_PUSHERS","config":{"deliver_subject":%q,"deliver_policy":"all","ack_policy":"none","mem_storage":true}}`, inbox)
	return map[string]string{
		"$JS.API.DIRECT.GET.KV_PUSHERS.$KV.PUSHERS." + key:           "",
		"$JS.API.DIRECT.GET.KV_PUSHERS":                              `{"seq":1}`,
		"$JS.API.STREAM.MSG.GET.KV_PUSHERS":                          `{"seq":1}`,
		"$JS.API.CONSUMER.CREATE.KV_PUSHERS":                         consumer,
		"$JS.API.CONSUMER.CREATE.KV_PUSHERS.spy":                     strings.Replace(consumer, `"config":{`, `"config":{"name":"spy",`, 1),
		"$JS.API.STREAM.INFO.KV_PUSHERS":                             `{"subjects_filter":">"}`,
		"$JS.API.STREAM.SNAPSHOT.KV_PUSHERS":                         fmt.Sprintf(`{"deliver_subject":%q}`, inbox),
		"$JS.API.DIRECT.GET.NOTIFICATIONS":                           `{"seq":1}`,
		"$JS.API.STREAM.CREATE.SPY":                                  `{"name":"SPY","sources":[{"name":"KV_PUSHERS"}]}`,
		"$SRV.PING.poked-dispatcher":                                 "",
		"$JS.HOMESERVER.API.STREAM.MSG.GET.KV_PUSHERS":               `{"seq":1}`,
		"$JS.API.DIRECT.GET.KV_PUSHERS.$KV.PUSHERS." + key + ".more": "",
	}
}

// recorder records the messages that it receives.
type recorder struct {
	mu       sync.Mutex
	messages []*nats.Msg
}

func (r *recorder) record(msg *nats.Msg) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, msg)
}

// subjectWith returns the subject of a message that contains a word, or "".
func (r *recorder) subjectWith(word string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, msg := range r.messages {
		if strings.Contains(string(msg.Data), word) || strings.Contains(msg.Subject, events.Token("@alice:example.org")) && strings.HasPrefix(msg.Subject, "$KV") {
			return msg.Subject
		}
	}
	return ""
}
