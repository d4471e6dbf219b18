package stream_test

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events/eventstest"
)

// BenchmarkTwoHops measures what NATS alone takes of an event that notifies one user: it is stored,
// read, stored again and read again, with nothing decided, sent or remembered. The client and the
// server share this process, as in poked serve. No dispatcher with a log between match and
// deliver can take less for a poke at fan-out 1.
func BenchmarkTwoHops(b *testing.B) {
	ns, err := server.NewServer(&server.Options{DontListen: true, JetStream: true, StoreDir: b.TempDir(), NoLog: true, NoSigs: true, SyncInterval: time.Second})
	if err != nil {
		b.Fatal(err)
	}
	ns.Start()
	defer ns.Shutdown()
	connect := func() jetstream.JetStream {
		nc, err := nats.Connect("", nats.InProcessServer(ns))
		if err != nil {
			b.Fatal(err)
		}
		js, err := jetstream.New(nc, jetstream.WithPublishAsyncMaxPending(1024))
		if err != nil {
			b.Fatal(err)
		}
		return js
	}
	publisher, match, deliver := connect(), connect(), connect()
	store := func(js jetstream.JetStream, subject, id string, body []byte) {
		msg := &nats.Msg{Subject: subject, Data: body}
		if id != "" {
			msg.Header = nats.Header{jetstream.MsgIDHeader: {id}}
		}
		if _, err := js.PublishMsgAsync(msg); err != nil {
			b.Error(err)
		}
	}
	event, notification := make([]byte, 450), make([]byte, 600) // as large as those of a message
	arrived := make(chan struct{}, b.N)
	stop := twoHops(b, publisher, func(jetstream.Msg) { store(match, "log.0", "", notification) }, match, func(jetstream.Msg) { arrived <- struct{}{} }, deliver)
	defer stop()
	b.ReportAllocs()
	b.ResetTimer()
	began := eventstest.CPUTime(b)
	for i := range b.N {
		store(publisher, fmt.Sprintf("room.%d.event", i%2000), fmt.Sprint("$", i), event)
	}
	for range b.N {
		<-arrived
	}
	b.ReportMetric(float64((eventstest.CPUTime(b)-began).Microseconds())/float64(b.N), "cpu-µs/op")
}

// twoHops makes the two streams and consumes each.
func twoHops(b *testing.B, at jetstream.JetStream, first func(jetstream.Msg), match jetstream.JetStream, second func(jetstream.Msg), deliver jetstream.JetStream) (stop func()) {
	b.Helper()
	ctx, stops := context.Background(), []func(){}
	for _, hop := range []struct {
		name, subject string
		js            jetstream.JetStream
		do            func(jetstream.Msg)
	}{{"ROOMS", "room.*.event", match, first}, {"LOG", "log.*", deliver, second}} {
		if _, err := at.CreateStream(ctx, jetstream.StreamConfig{Name: hop.name, Subjects: []string{hop.subject}, AllowDirect: true}); err != nil {
			b.Fatal(err)
		}
		consumer, err := hop.js.OrderedConsumer(ctx, hop.name, jetstream.OrderedConsumerConfig{})
		if err != nil {
			b.Fatal(err)
		}
		consuming, err := consumer.Consume(hop.do, jetstream.PullMaxMessages(1000))
		if err != nil {
			b.Fatal(err)
		}
		stops = append(stops, consuming.Stop)
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}
