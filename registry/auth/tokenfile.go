package auth

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"poked/events"
)

const (
	// tokenFileCheck is the shortest interval between two checks of the token file, and
	// how long it must be unchanged before it is read.
	tokenFileCheck = time.Second
	// maxTokenFileBytes bounds the file; it allows about half a million tokens.
	maxTokenFileBytes = 64 << 20
)

// tokenDigest is the digest of a token. Tokens themselves are not kept in memory.
type tokenDigest [sha256.Size]byte

// tokenKey is the random key of the digests. Since nobody outside the process knows it,
// the time of a lookup does not reveal how much of a guessed token is right.
type tokenKey [sha256.Size]byte

func newTokenKey() (k tokenKey) {
	_, _ = rand.Read(k[:]) // never fails
	return k
}

func (k *tokenKey) digest(token string) tokenDigest {
	mac := hmac.New(sha256.New, k[:])
	_, _ = mac.Write([]byte(token))
	return tokenDigest(mac.Sum(nil))
}

// tokenTable maps tokens to their owners.
type tokenTable map[tokenDigest]Identity

// TokenFile authenticates by the tokens of a file.
type TokenFile struct {
	path  string
	log   *slog.Logger
	key   tokenKey
	every time.Duration

	tokens atomic.Pointer[tokenTable]

	// looking is held by the one request that checks the file. Others do not wait for it
	// and use the current tokens. It guards the fields below.
	looking sync.Mutex
	read    fs.FileInfo // of the file that was read last, valid or not; nil if it was missing
	seen    fs.FileInfo // at the last check, of a file that may still be being written
	checked time.Time
}

// OpenTokenFile opens a file of tokens. Each line holds a
// token, a user id and, optionally, a device id, separated by white space. Empty lines and
// lines that begin with # are skipped. Every line ends with a newline, the last one, too.
// The file is read again once it has changed and then been unchanged for a second, at most
// two seconds later.
//
// A file that cannot be read is an error. If a later read fails, the error is logged once
// and the previous tokens stay valid. The same applies to a file that is not regular, may
// be incomplete, or no longer holds any tokens.
func OpenTokenFile(path string, log *slog.Logger) (*TokenFile, error) {
	t := &TokenFile{path: path, log: log, key: newTokenKey(), every: tokenFileCheck, checked: time.Now()}
	t.tokens.Store(&tokenTable{})
	if err := t.load(); err != nil {
		return nil, err
	}
	return t, nil
}

// Lookup is an [Authenticator].
func (t *TokenFile) Lookup(_ context.Context, token string) (Identity, error) {
	if t.looking.TryLock() {
		t.look(time.Now())
		t.looking.Unlock()
	}
	identity, ok := (*t.tokens.Load())[t.key.digest(token)]
	if !ok {
		return Identity{}, ErrUnknownToken
	}
	return identity, nil
}

// Reread reads the file now, even if it has not changed. After an error the previous
// tokens stay valid.
func (t *TokenFile) Reread() error {
	t.looking.Lock()
	defer t.looking.Unlock()
	t.seen = nil
	if err := t.load(); err != nil {
		return err
	}
	t.log.Info("token file reread", "tokens", len(*t.tokens.Load()))
	return nil
}

// look reads the file again if it has changed and is complete. The caller holds
// looking.
func (t *TokenFile) look(now time.Time) {
	if now.Sub(t.checked) < t.every {
		return
	}
	t.checked = now
	info, err := os.Stat(t.path)
	if err != nil {
		info = nil
	}
	if sameFile(info, t.read) {
		t.seen = nil
		return
	}
	if !t.stoodStill(info, now) {
		t.seen = info
		return
	}
	t.seen, t.read = nil, info // so that a file that cannot be opened is logged once, too
	if err := t.load(); err != nil {
		t.log.Error("token file not reread, the previous tokens stay valid", "error", err)
		return
	}
	t.log.Info("token file reread", "tokens", len(*t.tokens.Load()))
}

// stoodStill reports whether the file has been unchanged for a while: by its modification
// time or, in case another clock set that, because it was the same at the previous check.
func (t *TokenFile) stoodStill(info fs.FileInfo, now time.Time) bool {
	return info == nil || now.Sub(info.ModTime()) >= tokenFileCheck || t.seen != nil && sameFile(info, t.seen)
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// load reads the file. It records the file's state before it reads the content, so that
// the next check notices a write in between.
func (t *TokenFile) load() error {
	content, info, err := readTokenFile(t.path)
	if info != nil {
		t.read = info
	}
	if err != nil {
		return err
	}
	tokens, err := t.key.parseTokens(content)
	if err != nil {
		return fmt.Errorf("read token file %s: %w", t.path, err)
	}
	if len(tokens) == 0 && len(*t.tokens.Load()) > 0 {
		return fmt.Errorf("read token file %s: it no longer holds any tokens; to lock everybody out, restart the registry", t.path)
	}
	t.tokens.Store(&tokens)
	return nil
}

// readTokenFile reads a whole regular file. It refuses other kinds, since opening or
// reading one may block forever: a pipe waits for a writer.
func readTokenFile(path string) ([]byte, fs.FileInfo, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("open token file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return nil, nil, fmt.Errorf("open token file: %w", err)
	}
	if !info.Mode().IsRegular() {
		return nil, info, fmt.Errorf("open token file %s: it is not a regular file", path)
	}
	content, err := io.ReadAll(io.LimitReader(file, maxTokenFileBytes+1))
	switch {
	case err != nil:
		return nil, info, fmt.Errorf("read token file: %w", err)
	case len(content) > maxTokenFileBytes:
		return nil, info, fmt.Errorf("read token file %s: it has more than %d bytes", path, maxTokenFileBytes)
	case int64(len(content)) != info.Size():
		return nil, info, fmt.Errorf("read token file %s: it changed while it was read", path)
	}
	return content, info, nil
}

// parseTokens reads the lines of a token file. Its errors contain no part of them.
func (k *tokenKey) parseTokens(content []byte) (tokenTable, error) {
	if len(content) > 0 && content[len(content)-1] != '\n' {
		return nil, errors.New("it does not end with a newline, so its last line may be incomplete")
	}
	tokens, number := tokenTable{}, 0
	for line := range bytes.Lines(content) {
		number++
		if err := k.addLine(tokens, line); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	return tokens, nil
}

// addLine reads one line. Its errors contain no part of the line, since in a malformed
// line any word may be the token.
func (k *tokenKey) addLine(tokens tokenTable, line []byte) error {
	words := strings.Fields(string(bytes.TrimPrefix(line, []byte("\ufeff"))))
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	if len(words) < 2 || len(words) > 3 {
		return fmt.Errorf("%d words, want: token user_id [device_id]", len(words))
	}
	identity := Identity{UserID: events.UserID(words[1])}
	if !identity.UserID.Valid() {
		return fmt.Errorf("the second word is not a user id such as @alice:example.org, at most %d bytes", events.MaxIDBytes)
	}
	if len(words) == 3 {
		if identity.DeviceID = words[2]; len(identity.DeviceID) > events.MaxIDBytes {
			return fmt.Errorf("the device id is longer than %d bytes", events.MaxIDBytes)
		}
	}
	digest := k.digest(words[0])
	if _, twice := tokens[digest]; twice {
		return errors.New("this token is already on an earlier line")
	}
	tokens[digest] = identity
	return nil
}
