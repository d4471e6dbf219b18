package pushgateway

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"syscall"
)

// Dialer returns a dial function, such as http.Transport wants, that opens no
// connection CheckAddr refuses. The question is asked for each address that DNS
// gave, between socket(2) and connect(2), about the very address connected to:
// a name that changes its answer in between gains nothing. Where one address is
// refused the others are still tried. An error that comes from a refusal matches
// ErrBlocked.
//
// The settings of base are kept, except ControlContext, which this function
// needs for itself, and Control, which net.Dialer then ignores. The address is "host:port"; only TCP is dialled.
func (p *Policy) Dialer(base net.Dialer) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if err != nil || !strings.HasPrefix(network, "tcp") {
			return nil, refuse("only host:port over TCP can be dialled")
		}
		d := base
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
