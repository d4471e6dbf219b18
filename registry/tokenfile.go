package registry

import (
	"bufio"
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"strings"
	"sync"
	"time"

	"poked/events"
)

// tokenFileCheck is how often a changed token file is looked for, at most.
const tokenFileCheck = time.Second

// tokenDigest stands for a token in memory.
type tokenDigest [sha256.Size]byte

// tokenKey makes digests. This process drew it and keeps it, so nobody outside can
// choose a token for what its digest has in common with another's: lookups take the
// same time however much of a guess is right.
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

// tokenFile knows the tokens of a file, by their digests.
type tokenFile struct {
	path  string
	log   *slog.Logger
	key   tokenKey
	every time.Duration

	mu      sync.Mutex // guards what follows
	tokens  map[tokenDigest]Identity
	read    fs.FileInfo // of the file that was read last, good or bad; nil if it was missing
	checked time.Time
}

// TokenFile returns an authenticator that looks tokens up in a file. Each line
// has a token, a user id and, optionally, a device id, separated by white space;
// empty lines and lines that begin with # are skipped. The file is read again
// when it has changed, a second later at most. A file that cannot be read is an
// error here; later it is logged once, and the tokens known before stay valid.
func TokenFile(path string, log *slog.Logger) (Authenticator, error) {
	t, err := openTokenFile(path, log)
	if err != nil {
		return nil, err
	}
	return t.lookup, nil
}

func openTokenFile(path string, log *slog.Logger) (*tokenFile, error) {
	t := &tokenFile{path: path, log: log, key: newTokenKey(), every: tokenFileCheck, checked: time.Now()}
	if err := t.load(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *tokenFile) lookup(_ context.Context, token string) (Identity, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.refresh(time.Now())
	identity, ok := t.tokens[t.key.digest(token)]
	if !ok {
		return Identity{}, ErrUnknownToken
	}
	return identity, nil
}

// refresh reads the file again if it has changed. The caller holds the mutex.
func (t *tokenFile) refresh(now time.Time) {
	if now.Sub(t.checked) < t.every {
		return
	}
	t.checked = now
	info, err := os.Stat(t.path)
	if err != nil {
		info = nil
	}
	if sameFile(info, t.read) {
		return
	}
	t.read = info // what cannot be opened is logged once, too
	if err := t.load(); err != nil {
		t.log.Error("token file not reread, the tokens known before stay valid", "error", err)
		return
	}
	t.log.Info("token file reread", "tokens", len(t.tokens))
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// load reads the file. What it was is noted before its content is read, so that
// a write in between is seen at the next check.
func (t *tokenFile) load() error {
	file, err := os.Open(t.path)
	if err != nil {
		return fmt.Errorf("open token file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("open token file: %w", err)
	}
	t.read = info
	tokens := map[tokenDigest]Identity{}
	scanner := bufio.NewScanner(file)
	for number := 1; scanner.Scan(); number++ {
		if err := t.addLine(tokens, scanner.Bytes()); err != nil {
			return fmt.Errorf("read token file %s, line %d: %w", t.path, number, err)
		}
	}
	if err := scanner.Err(); err != nil {
		return fmt.Errorf("read token file: %w", err)
	}
	t.tokens = tokens
	return nil
}

// addLine reads one line. Its errors name no part of the line: any of its words
// may be the token, if the line is wrong.
func (t *tokenFile) addLine(tokens map[tokenDigest]Identity, line []byte) error {
	words := strings.Fields(string(bytes.TrimPrefix(line, []byte("\ufeff"))))
	if len(words) == 0 || strings.HasPrefix(words[0], "#") {
		return nil
	}
	if len(words) < 2 || len(words) > 3 {
		return fmt.Errorf("%d words, want: token user_id [device_id]", len(words))
	}
	identity := Identity{UserID: events.UserID(words[1])}
	if !isUserID(words[1]) {
		return fmt.Errorf("the second word is not a user id such as @alice:example.org, at most %d bytes", events.MaxIDBytes)
	}
	if len(words) == 3 {
		if identity.DeviceID = words[2]; len(identity.DeviceID) > events.MaxIDBytes {
			return fmt.Errorf("the device id is longer than %d bytes", events.MaxIDBytes)
		}
	}
	digest := t.key.digest(words[0])
	if _, twice := tokens[digest]; twice {
		return fmt.Errorf("this token stands on an earlier line as well")
	}
	tokens[digest] = identity
	return nil
}
