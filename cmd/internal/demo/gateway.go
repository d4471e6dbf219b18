package demo

import (
	"context"
	"log/slog"
	"net/http"

	"poked/cmd/internal/testgateway"
)

const host = "127.0.0.1"

// arrival is a poke as it arrived.
type arrival struct {
	*testgateway.Poke

	tree map[string]any // of the body, with numbers as written; nil if it is invalid
}

// isBadge reports whether a poke is a badge-only push.
func (a *arrival) isBadge() bool { return a.tree != nil && a.Notification.IsBadge() }

// arrive returns a poke with its tree, which is nil for an invalid poke.
func arrive(p *testgateway.Poke) arrival {
	a := arrival{Poke: p}
	if p.Refusal != nil || decodeTree(p.Body, &a.tree) != nil {
		a.tree = nil
	}
	return a
}

// collector is a push gateway that accepts every poke and passes it on.
type collector struct {
	*testgateway.Gateway

	log      *slog.Logger
	arrivals chan arrival
}

func listenGateway(ctx context.Context, log *slog.Logger) (*collector, error) {
	g, err := testgateway.Listen(ctx, host+":0")
	if err != nil {
		return nil, err
	}
	return &collector{Gateway: g, log: log, arrivals: make(chan arrival, 1024)}, nil
}

// run serves until ctx ends. It passes a poke on before it answers: the next poke of the
// same pusher arrives after the answer, so the order of each pusher's pokes is kept.
func (c *collector) run(ctx context.Context) error {
	return c.Run(ctx, c.log, func(ctx context.Context, p *testgateway.Poke) (testgateway.Answer, error) {
		select {
		case c.arrivals <- arrive(p):
			return testgateway.Answer{}, nil
		case <-ctx.Done():
			return testgateway.Answer{Status: http.StatusServiceUnavailable, ErrCode: "M_UNKNOWN", Error: "the demo has ended"}, nil
		}
	})
}
