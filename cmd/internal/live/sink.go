package live

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"poked/cmd/internal/testgateway"
)

// sink records the pokes that arrive at a push gateway.
type sink struct {
	gateway *testgateway.Gateway

	mu      sync.Mutex
	down    bool            // it answers 503
	rejects map[string]bool // pushkeys that it refuses for good
	pokes   []recorded      // in the order of their arrival
	unread  map[string]int  // the last count of each pushkey
	arrived chan struct{}   // closed at the next poke
}

// recorded is one poke that was accepted.
type recorded struct {
	pushkey string
	how     string // priority, which is high if it is missing, sound, and "!" for a highlight
	testgateway.Notification
}

func newSink(ctx context.Context) (*sink, error) {
	gateway, err := testgateway.Listen(ctx, "127.0.0.1:0")
	return &sink{gateway: gateway, rejects: map[string]bool{}, unread: map[string]int{}, arrived: make(chan struct{})}, err
}

func (s *sink) take(_ context.Context, p *testgateway.Poke) (testgateway.Answer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if p.Refusal != nil {
		return *p.Refusal, nil
	}
	if s.down {
		return testgateway.Answer{Status: http.StatusServiceUnavailable, ErrCode: "M_UNKNOWN", Error: "down"}, nil
	}
	n := p.Notification
	var answer testgateway.Answer
	for _, device := range n.Devices {
		if s.rejects[device.Pushkey] {
			answer.Rejected = append(answer.Rejected, device.Pushkey)
			continue
		}
		if n.Counts.Unread != nil {
			s.unread[device.Pushkey] = *n.Counts.Unread
		}
		if !n.IsBadge() {
			if n.Prio == "" {
				n.Prio = "high" // Push Gateway API, "POST /_matrix/push/v1/notify"
			}
			s.pokes = append(s.pokes, recorded{device.Pushkey, n.How(), n})
		}
	}
	close(s.arrived)
	s.arrived = make(chan struct{})
	return answer, nil
}

// serveTLS gives the gateway a certificate that nobody signed, for a homeserver that pokes by
// https only, and is configured not to look.
func (s *sink) serveTLS() error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return fmt.Errorf("make certificate: %w", err)
	}
	s.gateway.ServeTLS(tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key})
	return nil
}

// fail makes the gateway answer 503, or not.
func (s *sink) fail(down bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// reject makes the gateway refuse a pushkey for good.
func (s *sink) reject(pushkey string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rejects[pushkey] = true
}

// next returns a channel that is closed when something arrives.
func (s *sink) next() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.arrived
}

// of returns how each pushkey was poked about an event.
func (s *sink) of(event string) map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := map[string]string{}
	for i := range s.pokes {
		p := &s.pokes[i]
		if string(p.EventID) != event {
			continue
		}
		if got[p.pushkey] != "" {
			got[p.pushkey] += ", "
		}
		got[p.pushkey] += p.how
	}
	return got
}

// last returns the last poke of a pushkey about an event.
func (s *sink) last(pushkey, event string) (found recorded) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.pokes {
		if s.pokes[i].pushkey == pushkey && string(s.pokes[i].EventID) == event {
			found = s.pokes[i]
		}
	}
	return found
}

// events returns the events that a pushkey was poked about, in order.
func (s *sink) events(pushkey string) (list []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.pokes {
		if s.pokes[i].pushkey == pushkey {
			list = append(list, string(s.pokes[i].EventID))
		}
	}
	return list
}

// counts returns the unread counts of the pushkeys that are named.
func (s *sink) counts(pushkeys map[string]int) map[string]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := map[string]int{}
	for key := range pushkeys {
		got[key] = s.unread[key]
	}
	return got
}

// show writes what pushkeys received.
func show[V any](got map[string]V, text func(V) string) string {
	var words []string
	for _, key := range slices.Sorted(maps.Keys(got)) {
		words = append(words, key+" "+text(got[key]))
	}
	if len(words) == 0 {
		return "nothing"
	}
	return strings.Join(words, "; ")
}
