// Package webpushtest is a browser for tests: it has the keys of a subscription, and opens
// what a push service got for it. It shares no code with package webpush, so that each checks
// the other.
package webpushtest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

// Browser is one subscription of a browser.
type Browser struct {
	key  *ecdh.PrivateKey
	auth []byte
}

// New makes a subscription.
func New() (*Browser, error) {
	key, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make subscription: %w", err)
	}
	auth := make([]byte, 16)
	_, _ = rand.Read(auth) // it never fails
	return &Browser{key, auth}, nil
}

// Parse returns the subscription with a private key and a secret, both unpadded base64url.
func Parse(private, auth string) (*Browser, error) {
	scalar, err := base64.RawURLEncoding.DecodeString(private)
	if err != nil {
		return nil, fmt.Errorf("parse subscription: %w", err)
	}
	b := &Browser{}
	if b.auth, err = base64.RawURLEncoding.DecodeString(auth); err != nil {
		return nil, fmt.Errorf("parse subscription: %w", err)
	}
	if b.key, err = ecdh.P256().NewPrivateKey(scalar); err != nil {
		return nil, fmt.Errorf("parse subscription: %w", err)
	}
	return b, nil
}

// Pushkey returns the public key as clients register it.
func (b *Browser) Pushkey() string {
	return base64.RawURLEncoding.EncodeToString(b.key.PublicKey().Bytes())
}

// Private returns the private key as text.
func (b *Browser) Private() string { return base64.RawURLEncoding.EncodeToString(b.key.Bytes()) }

// Auth returns the secret as clients register it.
func (b *Browser) Auth() string { return base64.RawURLEncoding.EncodeToString(b.auth) }

// Open decrypts the body of a push request.
func (b *Browser) Open(body []byte) ([]byte, error) {
	if len(body) < 21 || len(body) < 21+int(body[20]) {
		return nil, errors.New("open push: it is too short")
	}
	peer, err := ecdh.P256().NewPublicKey(body[21 : 21+int(body[20])])
	if err != nil {
		return nil, fmt.Errorf("open push: %w", err)
	}
	shared, err := b.key.ECDH(peer)
	if err != nil {
		return nil, fmt.Errorf("open push: %w", err)
	}
	context := append(append([]byte("WebPush: info\x00"), b.key.PublicKey().Bytes()...), peer.Bytes()...)
	return Decode(body, derive(shared, b.auth, context, 32))
}

// Decode decodes the content encoding aes128gcm with its secret.
func Decode(body, secret []byte) (message []byte, err error) {
	salt, size, rest := body[:16], int(binary.BigEndian.Uint32(body[16:20])), body[21+int(body[20]):]
	block, err := aes.NewCipher(derive(secret, salt, []byte("Content-Encoding: aes128gcm\x00"), 16))
	if err != nil {
		return nil, fmt.Errorf("open push: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return nil, fmt.Errorf("open push: %w", err)
	}
	nonce := derive(secret, salt, []byte("Content-Encoding: nonce\x00"), 12)
	for number := uint64(0); len(rest) > 0; number++ {
		record := rest[:min(size, len(rest))]
		rest = rest[len(record):]
		own := append([]byte{}, nonce...)
		binary.BigEndian.PutUint64(own[4:], binary.BigEndian.Uint64(own[4:])^number)
		plain, err := gcm.Open(nil, own, record, nil)
		if err != nil {
			return nil, fmt.Errorf("open push: %w", err)
		}
		for len(plain) > 0 && plain[len(plain)-1] == 0 {
			plain = plain[:len(plain)-1]
		}
		want := byte(1)
		if len(rest) == 0 {
			want = 2
		}
		if len(plain) == 0 || plain[len(plain)-1] != want {
			return nil, errors.New("open push: a record has no valid end")
		}
		message = append(message, plain[:len(plain)-1]...)
	}
	return message, nil
}

// derive is HKDF-SHA-256 (RFC 5869) for up to 32 bytes.
func derive(secret, salt, info []byte, n int) []byte {
	extract := hmac.New(sha256.New, salt)
	_, _ = extract.Write(secret) // a hash never fails
	expand := hmac.New(sha256.New, extract.Sum(nil))
	_, _ = expand.Write(append(append([]byte{}, info...), 1))
	return expand.Sum(nil)[:n]
}
