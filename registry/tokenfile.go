package registry

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
	// tokenFileCheck is how often a changed token file is looked for, at most, and for
	// how long it must have stood still before it is read.
	tokenFileCheck = time.Second
	// maxTokenFileBytes bounds the file: half a million tokens.
	maxTokenFileBytes = 64 << 20
)

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

// tokenTable is who each token belongs to.
type tokenTable map[tokenDigest]Identity

// tokenFile knows the tokens of a file, by their digests.
type tokenFile struct {
	path  string
	log   *slog.Logger
	key   tokenKey
	every time.Duration

	tokens atomic.Pointer[tokenTable]

	// looking is held by the one request that looks at the file. The others do not wait
	// for it: they go by the tokens that are known. It guards what follows.
	looking sync.Mutex
	read    fs.FileInfo // of the file that was read last, good or bad; nil if it was missing
	seen    fs.FileInfo // at the last look, of a file that may still be being written
	checked time.Time
}

// TokenFile returns an authenticator that looks tokens up in a file. Each line
// has a token, a user id and, optionally, a device id, separated by white space;
// empty lines and lines that begin with # are skipped, and the last line ends with a
// newline as the others do. The file is read again when it has changed and then stood
// still for a second, two seconds later at most.
//
// A file that cannot be read is an error here; later it is logged once, and the tokens
// known before stay valid. So it is with a file that is no regular one, that may be
// half of itself, or that has no tokens any more.
func TokenFile(path string, log *slog.Logger) (Authenticator, error) {
	t, err := openTokenFile(path, log)
	if err != nil {
		return nil, err
	}
	return t.lookup, nil
}

func openTokenFile(path string, log *slog.Logger) (*tokenFile, error) {
	t := &tokenFile{path: path, log: log, key: newTokenKey(), every: tokenFileCheck, checked: time.Now()}
	t.tokens.Store(&tokenTable{})
	if err := t.load(); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *tokenFile) lookup(_ context.Context, token string) (Identity, error) {
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

// reread reads the file now, whether it has changed or not. Without an error its tokens
// are the valid ones.
func (t *tokenFile) reread() error {
	t.looking.Lock()
	defer t.looking.Unlock()
	t.seen = nil
	if err := t.load(); err != nil {
		return err
	}
	t.log.Info("token file reread", "tokens", len(*t.tokens.Load()))
	return nil
}

// look reads the file again if it has changed and is whole. The caller holds looking.
func (t *tokenFile) look(now time.Time) {
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
	t.seen, t.read = nil, info // what cannot be opened is logged once, too
	if err := t.load(); err != nil {
		t.log.Error("token file not reread, the tokens known before stay valid", "error", err)
		return
	}
	t.log.Info("token file reread", "tokens", len(*t.tokens.Load()))
}

// stoodStill reports whether nobody has written to the file for a while: by its own
// time, or, where that is set by another clock, because it was the same at the look
// before.
func (t *tokenFile) stoodStill(info fs.FileInfo, now time.Time) bool {
	return info == nil || now.Sub(info.ModTime()) >= tokenFileCheck || t.seen != nil && sameFile(info, t.seen)
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}

// load reads the file. What it was is noted before its content is read, so that
// a write in between is seen at the next look.
func (t *tokenFile) load() error {
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
		return fmt.Errorf("read token file %s: it has no tokens any more; if nobody is to be let in, start the registry anew", t.path)
	}
	t.tokens.Store(&tokens)
	return nil
}

// readTokenFile reads a regular file whole. To open or to read another kind of file may
// take for ever: a pipe waits for somebody to write.
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
		return nil, info, fmt.Errorf("read token file %s: somebody wrote to it meanwhile", path)
	}
	return content, info, nil
}

// parseTokens reads the lines of a token file. Its errors name no part of them.
func (k *tokenKey) parseTokens(content []byte) (tokenTable, error) {
	if len(content) > 0 && content[len(content)-1] != '\n' {
		return nil, errors.New("it does not end with a newline, so its last line may be half of one")
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

// addLine reads one line. Its errors name no part of the line: any of its words
// may be the token, if the line is wrong.
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
		return errors.New("this token stands on an earlier line as well")
	}
	tokens[digest] = identity
	return nil
}
