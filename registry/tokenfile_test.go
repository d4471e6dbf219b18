package registry

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// openTokens opens a token file that is looked at on every lookup.
func openTokens(t *testing.T, content string) (*tokenFile, *logBuffer, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens")
	writeFile(t, path, content)
	log := &logBuffer{}
	file, err := openTokenFile(path, slog.New(slog.NewTextHandler(log, nil)))
	if err == nil {
		file.every = 0
	}
	return file, log, err
}

func TestTokenFileLines(t *testing.T) {
	file, _, err := openTokens(t, "\ufeff# comment\n\n  t1\t@a:x  \nt2 @b:x DEVICE\r\n# t3 @c:x\nlast @d:x")
	if err != nil {
		t.Fatal(err)
	}
	for token, want := range map[string]Identity{
		"t1": {UserID: "@a:x"}, "t2": {UserID: "@b:x", DeviceID: "DEVICE"}, "last": {UserID: "@d:x"},
	} {
		if got, err := file.lookup(t.Context(), token); err != nil || got != want {
			t.Errorf("%s: %+v %v", token, got, err)
		}
	}
	for _, token := range []string{"t3", "#", "", "t", "t11", "T1"} {
		if _, err := file.lookup(t.Context(), token); !errors.Is(err, ErrUnknownToken) {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestTokenFileRefusesBadLines(t *testing.T) {
	for _, c := range []struct{ content, says string }{
		{"t1 @a:x\nSECRET", "line 2"},
		{"SECRET @a:x D extra", "4 words"},
		{"@a:x SECRET", "user id"},
		{"SECRET a:x", "user id"},
		{"SECRET @a", "user id"},
		{"SECRET @" + strings.Repeat("a", 253) + ":x", "255"},
		{"SECRET @a:x " + strings.Repeat("D", 256), "device id"},
		{"SECRET @a:x\nSECRET @b:x", "line 2: this token stands on an earlier line"},
	} {
		_, _, err := openTokens(t, c.content)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v, want an error that says %q and no secret", c.content, err, c.says)
		}
	}
	if _, err := TokenFile(filepath.Join(t.TempDir(), "none"), slog.New(slog.DiscardHandler)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestTokenFileIsReread(t *testing.T) {
	file, log, err := openTokens(t, "old @a:x\n")
	if err != nil {
		t.Fatal(err)
	}
	knows := func(token string) bool {
		_, err := file.lookup(t.Context(), token)
		return err == nil
	}
	writeFile(t, file.path, "newer @a:x\n")
	if knows("old") || !knows("newer") {
		t.Error("a rewritten file is not noticed")
	}
	// The same size and time, by another file: what editors and mv do.
	other := file.path + ".new"
	writeFile(t, other, "other @a:x\n")
	info, err := os.Stat(file.path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Chtimes(other, time.Time{}, info.ModTime()), os.Rename(other, file.path)); err != nil {
		t.Fatal(err)
	}
	if knows("newer") || !knows("other") {
		t.Error("a replaced file is not noticed")
	}
	writeFile(t, file.path, "SECRET\n")
	for range 3 {
		if !knows("other") {
			t.Error("a bad file takes known tokens away")
		}
	}
	if err := os.Remove(file.path); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if !knows("other") {
			t.Error("a missing file takes known tokens away")
		}
	}
	if n := strings.Count(log.String(), "level=ERROR"); n != 2 || strings.Contains(log.String(), "SECRET") {
		t.Errorf("%d errors logged for two failures:\n%s", n, log)
	}
	writeFile(t, file.path, "back @a:x\n")
	if knows("other") || !knows("back") {
		t.Error("a mended file is not noticed")
	}
}

func TestTokenFileIsLookedAtOnceASecond(t *testing.T) {
	file, _, err := openTokens(t, "old @a:x\n")
	if err != nil {
		t.Fatal(err)
	}
	file.every = tokenFileCheck
	start := file.checked
	writeFile(t, file.path, "newer @a:x\n")
	for _, c := range []struct {
		after time.Duration
		token string
	}{{tokenFileCheck - 1, "old"}, {tokenFileCheck, "newer"}} {
		file.refresh(start.Add(c.after))
		if _, ok := file.tokens[file.key.digest(c.token)]; !ok {
			t.Errorf("%s after the last look: %s is not known", c.after, c.token)
		}
	}
}
