package auth

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"poked/events"
)

// openTokens opens a token file that is checked on every lookup.
func openTokens(t *testing.T, content string) (*TokenFile, *bytes.Buffer, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	orFail(t, os.WriteFile(path, []byte(content), 0o600))
	log := &bytes.Buffer{}
	file, err := OpenTokenFile(path, slog.New(slog.NewTextHandler(log, nil)))
	if err == nil {
		file.every = 0
	}
	return file, log, err
}

// writeLongAgo writes a file with an old modification time.
func writeLongAgo(t *testing.T, path, content string) {
	t.Helper()
	orFail(t, os.WriteFile(path, []byte(content), 0o600))
	setTime(t, path, time.Now().Add(-time.Minute))
}

func setTime(t *testing.T, path string, at time.Time) {
	t.Helper()
	if err := os.Chtimes(path, time.Time{}, at); err != nil {
		t.Fatal(err)
	}
}

// knows reports whether a token has an owner.
func (t *TokenFile) knows(token string) bool {
	_, err := t.Lookup(context.Background(), token)
	return err == nil
}

func TestTokenFileLines(t *testing.T) {
	file, _, err := openTokens(t, "\ufeff# comment\n\n  t1\t@a:x  \nt2 @b:x DEVICE\r\n# t3 @c:x\nlast @d:[::1]:8448\n")
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]Identity{
		"t1": {UserID: "@a:x"}, "t2": {UserID: "@b:x", DeviceID: "DEVICE"}, "last": {UserID: "@d:[::1]:8448"},
	} {
		if got, err := file.Lookup(t.Context(), token); err != nil || got != want {
			t.Errorf("%s: %+v %v", token, got, err)
		}
	}
	for _, token := range []string{"t3", "#", "", "t", "t11", "T1"} {
		if _, err := file.Lookup(t.Context(), token); !errors.Is(err, ErrUnknownToken) {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestTokenFileRefusesBadLines(t *testing.T) {
	for _, c := range []struct{ content, says string }{
		{"t1 @a:x\nSECRET\n", "line 2"},
		{"SECRET @a:x D extra\n", "4 words"},
		{"@a:x SECRET\n", "user id"},
		{"SECRET a:x\n", "user id"},
		{"SECRET @a\n", "user id"},
		{"SECRET @a:\n", "user id"},
		{"SECRET @a:b:c\n", "user id"},
		{"SECRET @a:exa,mple\n", "user id"},
		{"SECRET @a:x:123456\n", "user id"},
		{"SECRET @\xff:x\n", "user id"},
		{"SECRET @a\x00:x\n", "user id"},
		{"SECRET @" + strings.Repeat("a", 253) + ":x\n", "255"},
		{"SECRET @a:x " + strings.Repeat("D", 256) + "\n", "device id"},
		{"SECRET @a:x\nSECRET @b:x\n", "line 2: this token is already on an earlier line"},
		{"SECRET @a:x\nSECRET2 @b:example.o", "does not end with a newline"},
	} {
		_, _, err := openTokens(t, c.content)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v, want an error that says %q and no secret", c.content, err, c.says)
		}
	}
	if _, err := OpenTokenFile(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
	if _, err := OpenTokenFile(t.TempDir(), slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), "regular") {
		t.Errorf("a directory: %v", err)
	}
}

func TestTokenFileIsReread(t *testing.T) {
	file, log, err := openTokens(t, "old @a:x\n")
	if err != nil {
		t.Fatal(err)
	}
	writeLongAgo(t, file.path, "newer @a:x\n")
	if file.knows("old") || !file.knows("newer") {
		t.Error("a rewritten file is not noticed")
	}
	// Another file of the same size and time, as editors and mv leave it.
	other := file.path + ".new"
	orFail(t, os.WriteFile(other, []byte("other @a:x\n"), 0o600))
	info, err := os.Stat(file.path)
	if err != nil {
		t.Fatal(err)
	}
	setTime(t, other, info.ModTime())
	if err := os.Rename(other, file.path); err != nil {
		t.Fatal(err)
	}
	if file.knows("newer") || !file.knows("other") {
		t.Error("a replaced file is not noticed")
	}
	if n := strings.Count(log.String(), "token file reread"); n != 2 || strings.Contains(log.String(), "level=ERROR") {
		t.Errorf("logged %d times:\n%s", n, log)
	}
}

// Whatever happens to the file, no token becomes invalid and no request waits for it.
// The error is logged once, and the file is read as soon as it is valid again.
func TestABadTokenFileInvalidatesNoToken(t *testing.T) {
	for name, spoil := range map[string]func(t *testing.T, path string){
		"a bad line":      func(t *testing.T, path string) { writeLongAgo(t, path, "SECRET\n") },
		"empty":           func(t *testing.T, path string) { writeLongAgo(t, path, "") },
		"only comments":   func(t *testing.T, path string) { writeLongAgo(t, path, "# token user_id\n") },
		"half written":    func(t *testing.T, path string) { writeLongAgo(t, path, "other @a:x\nSECRET @bob:exa") },
		"missing":         removeFile,
		"a directory":     func(t *testing.T, path string) { removeFile(t, path); orFail(t, os.Mkdir(path, 0o700)) },
		"a pipe":          func(t *testing.T, path string) { removeFile(t, path); orFail(t, syscall.Mkfifo(path, 0o600)) },
		"leads nowhere":   func(t *testing.T, path string) { removeFile(t, path); orFail(t, os.Symlink("nowhere", path)) },
		"without an end":  func(t *testing.T, path string) { removeFile(t, path); orFail(t, os.Symlink("/dev/zero", path)) },
		"much too large":  func(t *testing.T, path string) { orFail(t, os.Truncate(path, maxTokenFileBytes+1)) },
		"NUL in place of": func(t *testing.T, path string) { writeLongAgo(t, path, strings.Repeat("\x00", 20)+"\n") },
	} {
		t.Run(name, func(t *testing.T) {
			file, log, err := openTokens(t, "good @a:x\n")
			if err != nil {
				t.Fatal(err)
			}
			spoil(t, file.path)
			for range 3 {
				if !file.knows("good") || file.knows("other") {
					t.Error("a known token is gone, or an incomplete file counts")
				}
			}
			if err := file.Reread(); err == nil || strings.Contains(err.Error(), "SECRET") {
				t.Errorf("reread: %v", err)
			}
			if !file.knows("good") {
				t.Error("a known token is gone")
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 || strings.Contains(log.String(), "SECRET") {
				t.Errorf("%d errors logged for one:\n%s", n, log)
			}
			orFail(t, os.RemoveAll(file.path))
			writeLongAgo(t, file.path, "back @a:x\n")
			if file.knows("good") || !file.knows("back") {
				t.Error("a mended file is not noticed")
			}
		})
	}
}

func removeFile(t *testing.T, path string) { t.Helper(); orFail(t, os.Remove(path)) }

func orFail(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// A file is read once it has been unchanged for a second: by its modification time or,
// if another clock set that, because two checks found it unchanged. It is checked once
// a second.
func TestTokenFileIsReadOnceUnchanged(t *testing.T) {
	for name, skew := range map[string]time.Duration{"the same clock": 0, "a clock that is ahead": time.Hour} {
		t.Run(name, func(t *testing.T) {
			file, _, err := openTokens(t, "old @a:x\n")
			if err != nil {
				t.Fatal(err)
			}
			file.every = tokenFileCheck
			start := file.checked
			write := func(content string, at time.Duration) {
				orFail(t, os.WriteFile(file.path, []byte(content), 0o600))
				setTime(t, file.path, start.Add(skew+at))
			}
			for _, c := range []struct {
				write, token string
				after        time.Duration
			}{
				{"newer @a:x\n", "old", tokenFileCheck - 1},        // no check
				{"", "old", tokenFileCheck},                        // too new
				{"newest @a:x\n", "old", 2 * tokenFileCheck},       // written again meanwhile
				{"", "old", 3*tokenFileCheck - 1},                  // no check
				{"", "newest", 3 * tokenFileCheck},                 // unchanged for a second
				{"newest @a:x\nhal", "newest", 4 * tokenFileCheck}, // too new
				{"", "newest", 5 * tokenFileCheck},                 // no newline
				{"# x\nlast @a:x\n", "newest", 6 * tokenFileCheck},
				{"", "last", 7 * tokenFileCheck},
			} {
				if c.write != "" {
					write(c.write, c.after)
				}
				file.look(start.Add(c.after))
				if _, ok := (*file.tokens.Load())[file.key.digest(c.token)]; !ok {
					t.Errorf("%s after the start: %s is not known", c.after, c.token)
				}
			}
		})
	}
}

// No request waits for the check of the file.
func TestNobodyWaitsForTheTokenFile(t *testing.T) {
	file, _, err := openTokens(t, "good @a:x\n")
	if err != nil {
		t.Fatal(err)
	}
	file.looking.Lock() // a check takes long
	defer file.looking.Unlock()
	if !file.knows("good") || file.knows("other") {
		t.Error("the lookup does not find a token meanwhile")
	}
}

func FuzzTokenFile(f *testing.F) {
	f.Add([]byte("# token user_id [device_id]\nphone @alice:example.org PHONE\n\nnodevice @alice:example.org\n"))
	f.Add([]byte("\ufeff# comment\n\n  t1\t@a:x  \nt2 @b:x DEVICE\r\nt @d:[::1]:8448\n"))
	f.Add([]byte("t @a:x\nt @a:x\n"))
	f.Add([]byte("t @bob:exa"))
	key := newTokenKey()
	f.Fuzz(func(t *testing.T, content []byte) {
		table, err := key.parseTokens(content)
		if err != nil {
			if table != nil {
				t.Error("an incomplete file counts")
			}
			return
		}
		for _, identity := range table {
			if !identity.UserID.Valid() || len(identity.DeviceID) > events.MaxIDBytes {
				t.Errorf("%+v", identity)
			}
		}
		// A file that is cut off anywhere except after a line is refused.
		for n := range len(content) {
			if _, err := key.parseTokens(content[:n]); n > 0 && content[n-1] != '\n' && err == nil {
				t.Errorf("%q counts as complete", content[:n])
			}
		}
	})
}
