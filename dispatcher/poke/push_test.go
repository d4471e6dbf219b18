package poke

import (
	"net"
	"strings"
	"testing"
	"time"

	"poked/events/eventstest"
	"poked/events/webpush"
	"poked/events/webpush/webpushtest"
)

// BenchmarkPush compares what a poke for a browser costs with an http poke of the same content, to
// the same cheap server: encrypting and the headers, with the signature that all share. "own" is
// a push with a key pair of its own, "first" the first for a browser with that of these minutes, "again"
// another one. cpu-µs/op is the processor time of both sides.
func BenchmarkPush(b *testing.B) {
	message := []byte(`{"devices":[],"content":"` + strings.Repeat("x", 700) + `"}`)
	url := eventstest.QuickGateway(b)
	c := NewClient((&net.Dialer{}).DialContext, time.Minute, 64)
	subscriptions := make([]*webpush.Subscription, 1000)
	for i := range subscriptions {
		browser, err := webpushtest.New()
		if err != nil {
			b.Fatal(err)
		}
		if subscriptions[i], err = webpush.ParseSubscription(browser.Pushkey(), browser.Auth()); err != nil {
			b.Fatal(err)
		}
	}
	key, err := webpush.NewKey()
	if err != nil {
		b.Fatal(err)
	}
	signer, err := webpush.NewSigner(key, "mailto:push@matrix.org")
	if err != nil {
		b.Fatal(err)
	}
	measure := func(name string, send func() error) {
		b.Run(name, func(b *testing.B) {
			began := eventstest.CPUTime(b)
			for b.Loop() {
				if err := send(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((eventstest.CPUTime(b)-began).Nanoseconds())/1000/float64(b.N), "cpu-µs/op")
		})
	}
	measure("http", func() (err error) {
		c.Post(url, message, "", func(a Answer) { err = a.err })
		return err
	})
	var sealed []byte
	push := func(sealer *webpush.Sealer, to *webpush.Subscription) (err error) {
		if sealed, err = sealer.Seal(sealed[:0], message, to); err != nil {
			return err
		}
		authorization, err := signer.Authorization("https://push.example.net", time.Now())
		if err != nil {
			return err
		}
		p := Push{URL: url, Body: sealed, Authorization: authorization, TTL: time.Hour, Urgency: "normal"}
		c.Push(&p, func(a Answer) { err = a.err })
		return err
	}
	measure("own", func() error { return push(new(webpush.Sealer), subscriptions[0]) })
	sealer, next := new(webpush.Sealer), 0
	measure("first", func() error {
		if next++; next == len(subscriptions) {
			sealer, next = new(webpush.Sealer), 0
		}
		return push(sealer, subscriptions[next])
	})
	measure("again", func() error { return push(sealer, subscriptions[0]) })
}
