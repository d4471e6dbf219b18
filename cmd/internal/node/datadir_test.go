package node

import (
	"bytes"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDataDirThatOthersCanEnter(t *testing.T) {
	for mode, warned := range map[os.FileMode]bool{0o700: false, 0o500: false, 0o750: true, 0o701: true, 0o777: true} {
		path := filepath.Join(t.TempDir(), "data")
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode|0o200); err != nil { // whatever the umask
			t.Fatal(err)
		}
		dir, err := OpenDataDir(path)
		if err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		dir.WarnIfShared(slog.New(slog.NewTextHandler(&log, nil)))
		if got := strings.Contains(log.String(), "chmod 700"); got != warned {
			t.Errorf("mode %v: warned is %t: %s", mode, got, log.String())
		}
		dir.Close()
	}
}
