package webpush

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
	"sync"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// Key is the key pair by which push services know poked (VAPID, RFC 8292). A browser's
// subscription is bound to it: with another one nothing reaches the browser until it
// subscribes again. It never changes.
type Key struct {
	private *ecdsa.PrivateKey
	secret  string
	public  string
}

// NewKey makes a key pair.
func NewKey() (*Key, error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make vapid key: %w", err)
	}
	return newKey(private)
}

// ErrKey reports that a text is no private key.
var ErrKey = errors.New("not a VAPID key: 32 bytes of unpadded base64url")

// ParseKey parses what [Key.Secret] returned.
func ParseKey(secret string) (*Key, error) {
	raw, err := text.DecodeString(secret)
	if err != nil {
		return nil, ErrKey
	}
	private, err := ecdsa.ParseRawPrivateKey(elliptic.P256(), raw)
	if err != nil {
		return nil, ErrKey
	}
	return newKey(private)
}

func newKey(private *ecdsa.PrivateKey) (*Key, error) {
	raw, err := private.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode vapid key: %w", err)
	}
	public, err := private.PublicKey.Bytes()
	if err != nil {
		return nil, fmt.Errorf("encode vapid key: %w", err)
	}
	return &Key{private: private, secret: text.EncodeToString(raw), public: text.EncodeToString(public)}, nil
}

// Secret returns the private key as text: 32 bytes of unpadded base64url.
func (k *Key) Secret() string { return k.secret }

// Public returns the public key as clients need it to subscribe ("applicationServerKey" of the
// Push API): 65 bytes, as 87 characters of unpadded base64url.
func (k *Key) Public() string { return k.public }

const (
	// tokenTTL is how long a header is valid. RFC 8292 allows 24 hours.
	tokenTTL = 12 * time.Hour
	// renewAfter is how long one is used, so that a clock which is hours off does no harm.
	renewAfter = tokenTTL / 2
	// maxOrigins bounds the headers that are kept. An operator's users have a handful of push
	// services; what is beyond costs a signature each.
	maxOrigins = 4096
)

// Signer makes the header Authorization of push requests with one key. A header serves all
// requests to an origin for six hours, since a signature costs about as much as encrypting
// the message. It is safe for concurrent use.
type Signer struct {
	key     *Key
	subject string
	headers *lru.Cache[string, header]
	signing sync.Mutex // held while a header is made, so that each is made once
}

type header struct {
	value string
	made  time.Time
}

// NewSigner returns a signer. subject is how the operator of a push service can reach the
// operator of poked; see [CheckSubject].
func NewSigner(key *Key, subject string) (*Signer, error) {
	headers, err := lru.New[string, header](maxOrigins)
	if err != nil {
		return nil, fmt.Errorf("make signer: %w", err)
	}
	return &Signer{key: key, subject: subject, headers: headers}, nil
}

// Authorization returns the header for requests to a push service (RFC 8292, section 3).
// audience is its origin as RFC 6454, section 6.2, writes it: without the scheme's default
// port.
func (s *Signer) Authorization(audience string, now time.Time) (string, error) {
	if h, ok := s.headers.Get(audience); ok && h.isFresh(now) {
		return h.value, nil
	}
	s.signing.Lock()
	defer s.signing.Unlock()
	if h, ok := s.headers.Get(audience); ok && h.isFresh(now) {
		return h.value, nil
	}
	token, err := s.sign(audience, now.Add(tokenTTL))
	if err != nil {
		return "", err
	}
	value := "vapid t=" + token + ", k=" + s.key.public
	s.headers.Add(audience, header{value, now})
	return value, nil
}

// isFresh reports whether the header is to be used. One from the future is not: the clock was
// wrong when it was made.
func (h header) isFresh(now time.Time) bool {
	age := now.Sub(h.made)
	return age >= 0 && age < renewAfter
}

// sign returns a JSON Web Token (RFC 7515, RFC 7518 section 3.4).
func (s *Signer) sign(audience string, expires time.Time) (string, error) {
	claims, err := json.Marshal(struct {
		Audience string `json:"aud"`
		Expires  int64  `json:"exp"`
		Subject  string `json:"sub"`
	}{audience, expires.Unix(), s.subject})
	if err != nil {
		return "", fmt.Errorf("sign vapid token: %w", err)
	}
	signed := text.EncodeToString([]byte(`{"typ":"JWT","alg":"ES256"}`)) + "." + text.EncodeToString(claims)
	digest := sha256.Sum256([]byte(signed))
	r, v, err := ecdsa.Sign(rand.Reader, s.key.private, digest[:])
	if err != nil {
		return "", fmt.Errorf("sign vapid token: %w", err)
	}
	signature := make([]byte, 64)
	r.FillBytes(signature[:32])
	v.FillBytes(signature[32:])
	return signed + "." + text.EncodeToString(signature), nil
}

// ErrSubject is matched by the errors of [CheckSubject].
var ErrSubject = errors.New("must be mailto: with an address, or an https URL, by which push services can reach you")

// CheckSubject returns an error for a subject that push services refuse: Apple's answers 403
// to one whose domain cannot exist on the internet, or that has white space or brackets.
func CheckSubject(subject string) error {
	if strings.ContainsAny(subject, " <>\"") || len(subject) > 255 {
		return ErrSubject
	}
	if address, ok := strings.CutPrefix(subject, "mailto:"); ok {
		parsed, err := mail.ParseAddress(address)
		if err != nil || parsed.Address != address {
			return fmt.Errorf("%w: this is no address of e-mail", ErrSubject)
		}
		return checkDomain(address[strings.LastIndexByte(address, '@')+1:])
	}
	parsed, err := url.Parse(subject)
	if err != nil || parsed.Scheme != "https" || parsed.User != nil || parsed.Host == "" {
		return ErrSubject
	}
	return checkDomain(parsed.Hostname())
}

// checkDomain refuses names that the public DNS does not have (RFC 2606, RFC 6761), and
// addresses.
func checkDomain(name string) error {
	name = strings.ToLower(name)
	last := name[strings.LastIndexByte(name, '.')+1:]
	switch last {
	case name, "", "localhost", "local", "localdomain", "lan", "internal", "intranet", "home", "corp", "private",
		"arpa", "onion", "test", "example", "invalid":
		return fmt.Errorf("%w: nothing on the internet has the name %s", ErrSubject, name)
	}
	if strings.Trim(last, "0123456789") == "" || strings.ContainsAny(name, "[]:") {
		return fmt.Errorf("%w: %s is an IP address", ErrSubject, name)
	}
	for _, reserved := range []string{"example.com", "example.org", "example.net"} {
		if name == reserved || strings.HasSuffix(name, "."+reserved) {
			return fmt.Errorf("%w: %s is a name for examples", ErrSubject, name)
		}
	}
	return nil
}
