package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"poked/cmd/internal/child"
)

// links makes the connections of a run that can be cut: each is a TCP proxy of
// its own.
type links struct {
	server *toxiproxy.ApiServer // only a place for what all proxies share
	all    []*link
}

func newLinks() *links {
	return &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// to returns a new link that leads to an address.
func (l *links) to(upstream string) (*link, error) {
	k := &link{proxy: toxiproxy.NewProxy(l.server, strconv.Itoa(len(l.all)), child.Host+":0", upstream)}
	if err := k.proxy.Start(); err != nil {
		return nil, fmt.Errorf("open a link: %w", err)
	}
	l.all = append(l.all, k)
	return k, nil
}

// close closes all links.
func (l *links) close() {
	for _, k := range l.all {
		k.proxy.Stop()
	}
}

// link leads connections to one address. One goroutine at a time may change it.
type link struct {
	proxy *toxiproxy.Proxy
}

func (k *link) addr() string { return k.proxy.Listen }

// cut closes what goes over the link; new connections are refused.
func (k *link) cut() { k.proxy.Stop() }

// mend ends a cut.
func (k *link) mend() error {
	if k.proxy.Enabled {
		return nil
	}
	if err := k.proxy.Start(); err != nil {
		return fmt.Errorf("mend a link: %w", err)
	}
	return nil
}

// The two ways in which a link can be bad without being cut.
const (
	toxicStall = `{"name":%q,"type":"timeout","stream":%q,"attributes":{"timeout":0}}` // what is sent is lost
	toxicSlow  = `{"name":%q,"type":"latency","stream":%q,"attributes":{"latency":200,"jitter":100}}`
)

// directions of a link, as toxiproxy calls them.
func directions() []string { return []string{"upstream", "downstream"} }

// poison makes the link bad, both ways, until cure.
func (k *link) poison(toxic string) error {
	for _, direction := range directions() {
		if _, err := k.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(toxic, direction, direction))); err != nil {
			return fmt.Errorf("make a link bad: %w", err)
		}
	}
	return nil
}

// cure ends poison. Connections that were stalled end with it.
func (k *link) cure() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, direction := range directions() {
		if err := k.proxy.Toxics.RemoveToxic(ctx, direction); err != nil {
			return fmt.Errorf("make a link good: %w", err)
		}
	}
	return nil
}

// Ports for servers that must come back where they were are none of those that
// the system gives to connections and to those who ask for any port: it might give
// them away while a server is down.
const firstPort, lastPort = 20000, 32000

// freePorts returns ports of this machine that nobody listens on right now.
func freePorts(n int) ([]int, error) {
	var ports []int
	var listeners []net.Listener // open until all are found
	defer func() {
		for _, listener := range listeners {
			_ = listener.Close() // nobody has connected
		}
	}()
	for try := 0; len(ports) < n; try++ {
		port := firstPort + rand.IntN(lastPort-firstPort) //nolint:gosec // luck needs no secrecy
		listener, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", addrOf(port))
		if err != nil && try > 100*n {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		if err == nil {
			ports, listeners = append(ports, port), append(listeners, listener)
		}
	}
	return ports, nil
}

func addrOf(port int) string { return net.JoinHostPort(child.Host, strconv.Itoa(port)) }
