package poke

import (
	"net"
	"testing"
	"time"

	"poked/events/pushgateway"
)

// No connection is opened to an address that the operator has not allowed. A real listener
// accepts none.
func TestG8BlockedAddressIsNeverConnectedTo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	accepted := make(chan struct{})
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_ = conn.Close()
			close(accepted)
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	guarded := NewClient(new(pushgateway.Policy).Dialer(net.Dialer{Timeout: DialTimeout}), 5*time.Second, 1)
	for _, host := range []string{"127.0.0.1", "localhost", "[::ffff:127.0.0.1]"} {
		guarded.Post("http://"+host+":"+port+pushgateway.NotifyPath, []byte("{}"), "", func(a Answer) {
			if out := Decide(a, "key", time.Now()); out.Kind != Slow || out.Class != ClassBlockedAddress {
				t.Errorf("%s: outcome %v %q (%v), want slow blocked_address", host, out.Kind, out.Class, a.err)
			}
		})
	}
	select {
	case <-accepted:
		t.Error("a connection was opened")
	default:
	}
}
