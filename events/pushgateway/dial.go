package pushgateway

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// Dialer returns a dial function for http.Transport that opens no connection which
// CheckAddr refuses. It checks each address from DNS between socket(2) and connect(2),
// and exactly the address to which it connects, so DNS rebinding does not help an
// attacker. If one address is refused, the others are still tried. An error caused by a
// refusal matches ErrBlocked.
//
// The settings of base are kept, except for ControlContext, which this function
// replaces, and Control, which net.Dialer then ignores. The address is "host:port";
// only TCP is supported. Through a proxy ([Policy.Via]) it is the address that the proxy is
// asked for that is checked.
func (p *Policy) Dialer(base net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			return nil, refuse("only host:port over TCP can be dialled")
		}
		d := base
		if p.route.source.IsValid() {
			d.LocalAddr = &net.TCPAddr{IP: p.route.source.AsSlice()}
		}
		if p.route.proxy != nil {
			return p.dialProxy(ctx, d, host, port)
		}
		d.ControlContext = func(_ context.Context, _, dialled string, _ syscall.RawConn) error {
			ap, err := netip.ParseAddrPort(dialled)
			if err != nil {
				return refuse("the address is not valid or has a zone")
			}
			return p.CheckAddr(host, ap)
		}
		return d.DialContext(ctx, network, address)
	}
}
