package chaos

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/rs/zerolog"

	"poked/cmd/internal/child"
)

// links creates links, each of which is a TCP proxy.
type links struct {
	server *toxiproxy.ApiServer // holds what all proxies share; it does not listen
	all    []*link
}

func newLinks() *links {
	return &links{server: toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())}
}

// to returns a new link to an address.
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

// link forwards connections to one address. Only one goroutine at a time may change it.
type link struct {
	proxy *toxiproxy.Proxy
}

func (k *link) addr() string { return k.proxy.Listen }

// cut closes all connections of the link and refuses new ones.
func (k *link) cut() { k.proxy.Stop() }

// restore ends a cut.
func (k *link) restore() error {
	if k.proxy.Enabled {
		return nil
	}
	if err := k.proxy.Start(); err != nil {
		return fmt.Errorf("restore a link: %w", err)
	}
	return nil
}

// Faults of a link besides a cut.
const (
	toxicStall = `{"name":%q,"type":"timeout","stream":%q,"attributes":{"timeout":0}}` // what is sent is lost
	toxicSlow  = `{"name":%q,"type":"latency","stream":%q,"attributes":{"latency":200,"jitter":100}}`
)

// directions of a link, as toxiproxy calls them.
func directions() []string { return []string{"upstream", "downstream"} }

// addToxic applies a fault to both directions of the link, until removeToxic.
func (k *link) addToxic(toxic string) error {
	for _, direction := range directions() {
		if _, err := k.proxy.Toxics.AddToxicJson(strings.NewReader(fmt.Sprintf(toxic, direction, direction))); err != nil {
			return fmt.Errorf("add a fault to a link: %w", err)
		}
	}
	return nil
}

// removeToxic ends the fault. Stalled connections are closed.
func (k *link) removeToxic() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	for _, direction := range directions() {
		if err := k.proxy.Toxics.RemoveToxic(ctx, direction); err != nil {
			return fmt.Errorf("remove a fault from a link: %w", err)
		}
	}
	return nil
}
