package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"io"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	other "github.com/SherClockHolmes/webpush-go"
)

const subject = "mailto:push@matrix.org"

func newSigner(t testing.TB, key *Key) *Signer {
	t.Helper()
	s, err := NewSigner(key, subject)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func makeKey(t testing.TB) *Key {
	t.Helper()
	key, err := NewKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// token is a parsed header Authorization.
type token struct {
	head, claims map[string]any
}

// check verifies a header as a push service does: with nothing but what it has in it.
func check(t *testing.T, header string) token {
	t.Helper()
	rest, ok := strings.CutPrefix(header, "vapid t=")
	jwt, public, ok2 := strings.Cut(rest, ", k=")
	parts := strings.Split(jwt, ".")
	if !ok || !ok2 || len(parts) != 3 {
		t.Fatalf("header %q", header)
	}
	key, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), decode(t, public))
	if err != nil {
		t.Fatal(err)
	}
	signature, digest := decode(t, parts[2]), sha256.Sum256([]byte(parts[0]+"."+parts[1]))
	if len(signature) != 64 || !ecdsa.Verify(key, digest[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Fatal("the signature is wrong")
	}
	var got token
	if err := errors.Join(json.Unmarshal(decode(t, parts[0]), &got.head), json.Unmarshal(decode(t, parts[1]), &got.claims)); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestAuthorization(t *testing.T) {
	key, now := makeKey(t), time.Now()
	s := newSigner(t, key)
	header, err := s.Authorization("https://push.example.org", now)
	if err != nil {
		t.Fatal(err)
	}
	got := check(t, header)
	if got.head["typ"] != "JWT" || got.head["alg"] != "ES256" {
		t.Errorf("head %v", got.head)
	}
	if got.claims["aud"] != "https://push.example.org" || got.claims["sub"] != subject || got.claims["exp"] != float64(now.Add(12*time.Hour).Unix()) {
		t.Errorf("claims %v", got.claims)
	}
	if !strings.HasSuffix(header, ", k="+key.Public()) || len(key.Public()) != PushkeyChars {
		t.Errorf("header %q is not of key %q", header, key.Public())
	}
}

// One header serves an origin for half of its time; a clock that was set back makes a new one.
func TestAuthorizationIsCached(t *testing.T) {
	s, now := newSigner(t, makeKey(t)), time.Now()
	at := func(origin string, after time.Duration) string {
		header, err := s.Authorization(origin, now.Add(after))
		if err != nil {
			t.Fatal(err)
		}
		return header
	}
	first := at("https://a.example", 0)
	if at("https://a.example", 6*time.Hour-time.Second) != first {
		t.Error("signed again before half of its time")
	}
	if at("https://b.example", 0) == first {
		t.Error("two origins have the same header")
	}
	if renewed := at("https://a.example", 6*time.Hour); renewed == first || at("https://a.example", 7*time.Hour) != renewed {
		t.Error("not renewed at half of its time")
	}
	if old := at("https://a.example", 0); check(t, old).claims["exp"] != float64(now.Add(12*time.Hour).Unix()) {
		t.Error("a header from the future is used")
	}
}

func TestKeyIsParsedAgain(t *testing.T) {
	key := makeKey(t)
	again, err := ParseKey(key.Secret())
	if err != nil || again.Public() != key.Public() {
		t.Errorf("parsed %v, %v", again, err)
	}
	for _, bad := range []string{"", "x", key.Secret() + "A", key.Public(), strings.Repeat("A", 43)} {
		if _, err := ParseKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("parsed %q: %v", bad, err)
		}
	}
}

// Another library makes a header of the same form from the same key.
func TestAuthorizationIsLikeThatOfAnotherLibrary(t *testing.T) {
	key, now := makeKey(t), time.Now()
	ours, err := newSigner(t, key).Authorization("https://push.example.org", now)
	if err != nil {
		t.Fatal(err)
	}
	var theirs string
	client := transport(func(r *http.Request) { theirs = r.Header.Get("Authorization") })
	answer, err := other.SendNotification([]byte("x"), &other.Subscription{
		Endpoint: "https://push.example.org/p", Keys: other.Keys{P256dh: rfcUAPublic, Auth: rfcAuth},
	}, &other.Options{
		HTTPClient: client, Subscriber: strings.TrimPrefix(subject, "mailto:"), VAPIDPublicKey: key.Public(), VAPIDPrivateKey: key.Secret(), VapidExpiration: now.Add(12 * time.Hour),
	})
	if err != nil {
		t.Fatal(err)
	}
	answer.Body.Close()
	a, b := check(t, ours), check(t, theirs)
	if a.head["alg"] != b.head["alg"] || a.claims["aud"] != b.claims["aud"] || a.claims["sub"] != b.claims["sub"] || a.claims["exp"] != b.claims["exp"] {
		t.Errorf("ours %v, theirs %v", a, b)
	}
}

// transport answers every request with 201.
type transport func(*http.Request)

func (f transport) Do(r *http.Request) (*http.Response, error) {
	f(r)
	return &http.Response{StatusCode: http.StatusCreated, Body: io.NopCloser(strings.NewReader(""))}, nil
}

func TestSubject(t *testing.T) {
	for _, good := range []string{"mailto:push@matrix.org", "https://matrix.org/contact", "https://xn--bro-hoa.de", "mailto:a+b@push.matrix.org"} {
		if err := CheckSubject(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{
		"", "push@matrix.org", "mailto:", "mailto:push", "mailto:push@localhost", "mailto:<push@matrix.org>", "mailto: push@matrix.org",
		"mailto:push@example.com", "mailto:push@mail.example.org", "http://matrix.org", "https://", "https://localhost", "https://10.0.0.1",
		"https://[2606:4700::1111]/", "https://poked", "https://poked.local", "https://a:b@matrix.org", "mailto:Push <push@matrix.org>", "mailto:a@b.test",
	} {
		if err := CheckSubject(bad); !errors.Is(err, ErrSubject) {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func BenchmarkAuthorization(b *testing.B) {
	s, now := newSigner(b, makeKey(b)), time.Now()
	b.Run("cached", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.Authorization("https://push.example.org", now); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("signed", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.sign("https://push.example.org", now); err != nil {
				b.Fatal(err)
			}
		}
	})
}
