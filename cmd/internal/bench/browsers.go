package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/valyala/fasthttp"

	"poked/events"
	"poked/events/webpush"
	"poked/events/webpush/webpushtest"
)

// pushPath begins the path of a browser's push resource. After it come its private key and its
// secret, so that the gateways, in a process of their own, decrypt what they get.
const pushPath = "/push/"

// identify stores the key by which push services know the dispatcher, as the registry does.
func (w *world) identify(ctx context.Context) error {
	if w.browsers == 0 {
		return nil
	}
	key, err := webpush.NewKey()
	if err != nil {
		return err
	}
	return w.conn.PutVAPID(ctx, events.VAPID{PrivateKey: key.Secret(), Subject: "mailto:bench@example.org"})
}

// hasBrowser reports whether the pusher of the mth user of a group is a browser. At each gateway
// there are both kinds.
func (w *world) hasBrowser(group, m int) bool {
	there := (group*w.fanout + m) / len(w.gateways) // how many users before have the same gateway
	return (there+1)*w.browsers/100 > there*w.browsers/100
}

// subscribe makes a pusher that of a browser, whose push service is a gateway.
func subscribe(p *events.Pusher, gateway string) error {
	browser, err := webpushtest.New()
	if err != nil {
		return err
	}
	p.Kind, p.Pushkey = events.KindWebPush, browser.Pushkey()
	p.Data = fmt.Appendf(nil, `{"url":"%s%s%s/%s","auth":"%s"}`, gateway, pushPath, browser.Private(), browser.Auth(), browser.Auth())
	return nil
}

// bodyOf returns the body of a poke; of one to a browser, pushed, as an http poke has it.
func bodyOf(ctx *fasthttp.RequestCtx) (body []byte, pushed bool, err error) {
	path := string(ctx.Path())
	keys, pushed := strings.CutPrefix(path, pushPath)
	if !pushed {
		return ctx.PostBody(), false, nil
	}
	private, auth, _ := strings.Cut(keys, "/")
	browser, err := webpushtest.Parse(private, auth)
	if err != nil {
		return nil, true, err
	}
	message, err := browser.Open(ctx.PostBody())
	if err != nil {
		return nil, true, err
	}
	if !bytes.Contains(message, []byte(browser.Pushkey())) {
		return nil, true, errors.New("open push: it is for another browser")
	}
	return append(append([]byte(`{"notification":`), message...), '}'), true, nil
}
