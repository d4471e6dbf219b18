package webpush

import (
	"crypto/ecdh"
	"crypto/rand"
	"fmt"
	"sync"
	"time"
)

const (
	// keyFor is how long a Sealer uses a key pair.
	keyFor = 5 * time.Minute
	// maxSecrets bounds the secrets that it keeps for that long, about 250 bytes each.
	maxSecrets = 8192
)

// Sealer seals messages as [Subscription.Seal] does, and uses its key pair for five minutes, for all
// browsers, since making one and exchanging keys with it are nine tenths of what a push costs. What it
// has derived for a browser it keeps as long. Each message has a salt, and so a content key, of
// its own (RFC 8188, section 4.6), which is all that encryption asks for.
//
// RFC 8291 (sections 2 and 3.1) has the server make a key pair for a message, and lets it keep the pair.
// That protects messages from somebody who has recorded them and reads the memory of the process
// later: here, those of the last five minutes are open to them. poked itself has the same messages in
// the clear for days, so they would not need the key. The key pair and what was derived from it are
// in memory alone, and dropped on time, also if nothing is sealed any more. That several messages
// are from one server a push service learns from their VAPID key already.
//
// A Sealer is safe for concurrent use. The zero value is ready for use.
type Sealer struct {
	mu  sync.Mutex
	now *exchange
}

// exchange is a key pair and what was derived from it.
type exchange struct {
	own     *ecdh.PrivateKey
	public  []byte
	made    time.Time
	secrets map[recipient][]byte // the mutex of the sealer guards it
}

// recipient identifies a subscription.
type recipient struct {
	key  [keyBytes]byte
	auth [authBytes]byte
}

// Seal appends the body of a push request (RFC 8291) with a message for a browser. The message
// has at most [MaxPlaintext] bytes.
func (s *Sealer) Seal(dst, message []byte, to *Subscription) ([]byte, error) {
	if err := checkSize(message); err != nil {
		return dst, err
	}
	x, err := s.exchange()
	if err != nil {
		return dst, err
	}
	secret, err := s.secret(x, to)
	if err != nil {
		return dst, err
	}
	return appendRecord(dst, message, secret, newSalt(), x.public)
}

// exchange returns the key pair of these minutes.
func (s *Sealer) exchange() (*exchange, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if x := s.now; x != nil && time.Since(x.made) < keyFor {
		return x, nil
	}
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("seal push: %w", err)
	}
	x := &exchange{own: own, public: own.PublicKey().Bytes(), made: time.Now(), secrets: map[recipient][]byte{}}
	s.now = x
	time.AfterFunc(keyFor, func() { s.drop(x) })
	return x, nil
}

// drop forgets a key pair.
func (s *Sealer) drop(x *exchange) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == x {
		s.now = nil
	}
}

// secret returns what both sides derive for a browser.
func (s *Sealer) secret(x *exchange, to *Subscription) ([]byte, error) {
	of := recipient{[keyBytes]byte(to.key.Bytes()), to.auth}
	s.mu.Lock()
	secret := x.secrets[of]
	s.mu.Unlock()
	if secret != nil {
		return secret, nil
	}
	secret, err := to.secret(x.own, x.public)
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(x.secrets) < maxSecrets {
		x.secrets[of] = secret
	}
	return secret, nil
}
