package webpush

import (
	"bytes"
	"testing"
	"testing/synctest"
	"time"

	"poked/events/webpush/webpushtest"
)

// newBrowser returns a browser and its subscription.
func newBrowser(t testing.TB) (*webpushtest.Browser, *Subscription) {
	t.Helper()
	browser, err := webpushtest.New()
	if err != nil {
		t.Fatal(err)
	}
	subscription, err := ParseSubscription(browser.Pushkey(), browser.Auth())
	if err != nil {
		t.Fatal(err)
	}
	return browser, subscription
}

// A key pair serves all browsers for five minutes and no longer, and no salt is used twice. Each browser
// can open what is for it, and nothing else.
func TestSealerUsesAKeyForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		alice, toAlice := newBrowser(t)
		bob, toBob := newBrowser(t)
		var s Sealer
		salts := map[string]bool{}
		seal := func(from, other *webpushtest.Browser, to *Subscription) (key string) {
			body, err := s.Seal([]byte("before"), []byte("hello"), to)
			if err != nil {
				t.Fatal(err)
			}
			body = bytes.TrimPrefix(body, []byte("before"))
			if got, err := from.Open(body); err != nil || string(got) != "hello" {
				t.Errorf("opened %q, %v", got, err)
			}
			if got, err := other.Open(body); err == nil {
				t.Errorf("another browser opened %q", got)
			}
			if salt := string(body[:saltBytes]); salts[salt] {
				t.Error("a salt was used twice")
			} else {
				salts[salt] = true
			}
			return string(body[saltBytes+5 : headerBytes])
		}
		first := seal(alice, bob, toAlice)
		for range 3 {
			if seal(alice, bob, toAlice) != first || seal(bob, alice, toBob) != first {
				t.Error("a key was used for less than five minutes")
			}
			<-time.After(keyFor/3 - time.Second)
		}
		<-time.After(3 * time.Second)
		if seal(alice, bob, toAlice) == first {
			t.Error("a key was used for more than five minutes")
		}
	})
}

// Nothing of a key is left in memory after its time, also if nothing is sealed any more, nor is it
// unbounded before.
func TestSealerForgets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, to := newBrowser(t)
		var s Sealer
		x, err := s.exchange()
		if err != nil {
			t.Fatal(err)
		}
		for n := range maxSecrets {
			x.secrets[recipient{auth: [authBytes]byte{byte(n), byte(n >> 8)}}] = []byte("secret of another browser")
		}
		if _, err := s.Seal(nil, nil, to); err != nil {
			t.Fatal(err)
		}
		if n := len(x.secrets); n > maxSecrets {
			t.Errorf("%d secrets are kept", n)
		}
		<-time.After(keyFor)
		synctest.Wait()
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.now != nil {
			t.Error("the key is still there")
		}
	})
}

func TestSealerRefusesWhatIsTooLong(t *testing.T) {
	_, to := newBrowser(t)
	var s Sealer
	if body, err := s.Seal(nil, make([]byte, MaxPlaintext), to); err != nil || len(body) != MaxBody {
		t.Errorf("sealed %d bytes, %v", len(body), err)
	}
	if _, err := s.Seal(nil, make([]byte, MaxPlaintext+1), to); err == nil {
		t.Error("sealed one byte more")
	}
}

// BenchmarkSealer measures a message with a key of its own, the first for a browser with the key of
// these minutes, and another one.
func BenchmarkSealer(b *testing.B) {
	_, to := newBrowser(b)
	message := bytes.Repeat([]byte("x"), 800)
	var s Sealer
	var body []byte
	for name, seal := range map[string]func() error{
		"own": func() (err error) { body, err = to.Seal(body[:0], message); return err },
		"first": func() (err error) {
			if x, err := s.exchange(); err == nil {
				clear(x.secrets)
			}
			body, err = s.Seal(body[:0], message, to)
			return err
		},
		"again": func() (err error) { body, err = s.Seal(body[:0], message, to); return err },
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := seal(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
