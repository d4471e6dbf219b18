package stream

import (
	"errors"
	"testing"

	"github.com/nats-io/nats.go/jetstream"
)

// Streams are waited for while a server of the cluster is away, and not if there are too few.
func TestServersThatAreAwayAreWaitedFor(t *testing.T) {
	for description, waits := range map[string]bool{
		"no suitable peers for placement, peer offline":                          true,
		"no suitable peers for placement":                                        false,
		"no suitable peers for placement, insufficient storage":                  false,
		"no suitable peers for placement, peer offline, insufficient storage":    false,
		"no suitable peers for placement, tags not matched [\"region:eu-west\"]": false,
	} {
		refused := &jetstream.APIError{Code: 400, ErrorCode: errCodeNoPeers, Description: description}
		err := (&setup{new(Conn), Topology{Replicas: 3}}).failed(Rooms, refused)
		if errors.Is(err, ErrNotReady) != waits || !errors.As(err, new(*jetstream.APIError)) {
			t.Errorf("%s: %v", description, err)
		}
	}
}
