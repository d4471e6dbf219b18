// Package webpush encrypts messages for browsers and identifies poked to their push
// services, as Web Push (RFC 8030) asks for:
//
//	pushkey, auth ──▶ ParseSubscription ──▶ Seal, or Sealer: body of a request, aes128gcm   (RFC 8291, 8188)
//	VAPID key ──▶ Signer ──▶ Authorization: header of a request, one for each origin (RFC 8292)
//
// The registry uses it to ask a browser for an acknowledgement, a dispatcher to poke it. It
// is pure: it opens no connection, writes no log and imports no other package of poked. The
// cryptography is that of the standard library.
//
// Of the content encodings only aes128gcm exists here: aesgcm of the drafts is obsolete, and
// MSC4174 forbids it. A message is one record without padding, with a salt of its own. Two
// multiplications on the curve are nine tenths of what a push costs more than an http poke, so a
// dispatcher uses a key pair, and what it derives for a browser, for five minutes ([Sealer]). The first push
// for a browser in that time takes one of the two, all others none (BenchmarkPush of package poke).
//
// # What fails, and how
//
// A pushkey or a secret that is no such thing is an error when it is parsed, which does not
// quote it. Sealing fails only for a plaintext that is longer than [MaxPlaintext], and
// signing never fails with a valid key.
package webpush

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
)

const (
	// MaxBody is how many bytes every push service takes (RFC 8030, section 7.2), as a body.
	MaxBody = 4096
	// MaxPlaintext is the longest message that fits into MaxBody.
	MaxPlaintext = MaxBody - Overhead
	// Overhead is how many bytes a body has more than its message.
	Overhead = headerBytes + 1 + 16 // with the delimiter, and the authentication tag

	// PushkeyChars is the length of a browser's public key as text.
	PushkeyChars = 87
	// AuthChars is the length of its secret as text.
	AuthChars = 22

	keyBytes    = 65 // a point of P-256, not compressed
	authBytes   = 16
	saltBytes   = 16
	headerBytes = saltBytes + 4 + 1 + keyBytes
	recordSize  = 4096
)

// text is the encoding of keys and secrets. It is strict, so that no two texts mean the same.
var text = base64.RawURLEncoding.Strict() //nolint:gochecknoglobals // immutable

// Subscription is what a browser tells of itself: its public key and its secret. It never
// changes.
type Subscription struct {
	key  *ecdh.PublicKey
	auth [authBytes]byte
}

// Errors of [ParseSubscription].
var (
	ErrPushkey = errors.New("must be a P-256 public key: 65 bytes, uncompressed, as 87 characters of unpadded base64url")
	ErrAuth    = errors.New("must be a secret of 16 bytes, as 22 characters of unpadded base64url")
)

// ParseSubscription parses the public key (RFC 8291, section 3.1; "p256dh" of the Push API) and the
// secret (section 3.2, "auth") of a browser. It fails with [ErrPushkey] or [ErrAuth].
func ParseSubscription(pushkey, auth string) (*Subscription, error) {
	s := &Subscription{}
	point, err := text.DecodeString(pushkey)
	if err != nil || len(pushkey) != PushkeyChars {
		return nil, ErrPushkey
	}
	if s.key, err = ecdh.P256().NewPublicKey(point); err != nil {
		return nil, ErrPushkey
	}
	secret, err := text.DecodeString(auth)
	if err != nil || len(auth) != AuthChars {
		return nil, ErrAuth
	}
	copy(s.auth[:], secret)
	return s, nil
}

// Auth returns the secret.
func (s *Subscription) Auth() []byte { return s.auth[:] }

// Seal appends the body of a push request (RFC 8291) with a message, which has at most
// [MaxPlaintext] bytes.
func (s *Subscription) Seal(dst, message []byte) ([]byte, error) {
	if err := checkSize(message); err != nil {
		return dst, err
	}
	own, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		return dst, fmt.Errorf("seal push: %w", err)
	}
	return s.seal(dst, message, own, newSalt())
}

func checkSize(message []byte) error {
	if len(message) > MaxPlaintext {
		return fmt.Errorf("seal push: %d bytes, at most %d fit", len(message), MaxPlaintext)
	}
	return nil
}

func newSalt() (salt [saltBytes]byte) {
	_, _ = rand.Read(salt[:]) // it never fails
	return salt
}

// seal is Seal with the key pair and the salt of the message.
func (s *Subscription) seal(dst, message []byte, own *ecdh.PrivateKey, salt [saltBytes]byte) ([]byte, error) {
	public := own.PublicKey().Bytes()
	secret, err := s.secret(own, public)
	if err != nil {
		return dst, err
	}
	return appendRecord(dst, message, secret, salt, public)
}

// secret derives what both sides share (RFC 8291, section 3.3): the input of the content encoding.
func (s *Subscription) secret(own *ecdh.PrivateKey, public []byte) ([]byte, error) {
	shared, err := own.ECDH(s.key)
	if err != nil {
		return nil, fmt.Errorf("seal push: %w", err)
	}
	info := make([]byte, 0, len(infoKey)+2*keyBytes)
	info = append(append(append(info, infoKey...), s.key.Bytes()...), public...)
	secret, err := hkdf.Key(sha256.New, shared, s.auth[:], string(info), sha256.Size)
	if err != nil {
		return nil, fmt.Errorf("seal push: %w", err)
	}
	return secret, nil
}

// The contexts of the derived keys (RFC 8291, section 3.4; RFC 8188, sections 2.2 and 2.3).
const (
	infoKey   = "WebPush: info\x00"
	infoCEK   = "Content-Encoding: aes128gcm\x00"
	infoNonce = "Content-Encoding: nonce\x00"
)

// lastRecord ends the plaintext of the last record (RFC 8188, section 2).
const lastRecord = 2

// appendRecord appends a message in the content encoding aes128gcm (RFC 8188), as one record.
func appendRecord(dst, message, secret []byte, salt [saltBytes]byte, keyID []byte) ([]byte, error) {
	start, err := hkdf.Extract(sha256.New, secret, salt[:])
	if err != nil {
		return dst, fmt.Errorf("seal push: %w", err)
	}
	key, err := hkdf.Expand(sha256.New, start, infoCEK, 16)
	if err != nil {
		return dst, fmt.Errorf("seal push: %w", err)
	}
	nonce, err := hkdf.Expand(sha256.New, start, infoNonce, 12)
	if err != nil {
		return dst, fmt.Errorf("seal push: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return dst, fmt.Errorf("seal push: %w", err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		return dst, fmt.Errorf("seal push: %w", err)
	}
	dst = append(dst, salt[:]...)
	dst = binary.BigEndian.AppendUint32(dst, recordSize)
	dst = append(append(dst, byte(len(keyID))), keyID...) //nolint:gosec // a key has 65 bytes
	at := len(dst)
	dst = append(append(dst, message...), lastRecord)
	return gcm.Seal(dst[:at], nonce, dst[at:], nil), nil
}
