package eventstest

import (
	"errors"
	"net"
	"testing"

	"github.com/valyala/fasthttp"

	"poked/events/pushgateway"
)

// QuickGateway starts a push gateway that takes every poke, for benchmarks, and returns its URL.
func QuickGateway(b *testing.B) string {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	server := &fasthttp.Server{Handler: func(ctx *fasthttp.RequestCtx) { ctx.SetBodyString(`{"rejected":[]}`) }}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	b.Cleanup(func() {
		if err := errors.Join(listener.Close(), <-served); err != nil {
			b.Log(err)
		}
	})
	return "http://" + listener.Addr().String() + pushgateway.NotifyPath
}
