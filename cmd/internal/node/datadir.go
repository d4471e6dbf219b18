package node

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/gofrs/flock"
)

// DataDir is the data directory of poked serve. It is locked while it is open: two NATS
// servers on the same files would corrupt them.
type DataDir struct {
	Path string
	lock *flock.Flock
	made bool // created by this process, which is not ready yet
}

// OpenDataDir creates the directory, if it is missing, with access for its owner only, and
// locks it. The lock ends with the process, even if that is killed.
func OpenDataDir(path string) (*DataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	_, err = os.Lstat(path)
	made := errors.Is(err, os.ErrNotExist)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("create data directory: %w", err)
	}
	lock := flock.New(filepath.Join(path, "lock"))
	locked, err := lock.TryLock()
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if !locked {
		return nil, fmt.Errorf("lock data directory: another poked uses %s", path)
	}
	return &DataDir{Path: path, lock: lock, made: made}, nil
}

// Below returns the path of a file in the directory.
func (d *DataDir) Below(name string) string { return filepath.Join(d.Path, name) }

// WarnIfShared warns if other users can enter the directory. poked creates its files for
// their owner only, but somebody may have opened the directory on purpose, for backups.
func (d *DataDir) WarnIfShared(log *slog.Logger) {
	info, err := os.Stat(d.Path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return // if it cannot be read, opening the files in it will fail with a better error
	}
	log.Warn("other users can enter the data directory; chmod 700 keeps them out", "data", d.Path, "mode", info.Mode().Perm().String())
}

// Keep makes Close keep the directory. It is called once the process is ready.
func (d *DataDir) Keep() { d.made = false }

// Close unlocks the directory. If this process created it and failed to start, Close
// removes it again, unless a homeserver has already stored messages there.
func (d *DataDir) Close() {
	if d.made && !d.holdsMessages() {
		_ = os.RemoveAll(d.Path) // leftovers do no harm
	}
	_ = d.lock.Close()
}

// holdsMessages reports whether a stream may store messages: a block file of NATS is empty
// until it holds one.
func (d *DataDir) holdsMessages() (found bool) {
	err := filepath.WalkDir(d.Path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".blk" {
			return err
		}
		info, err := os.Stat(path)
		found = found || err != nil || info.Size() > 0
		return err //nolint:wrapcheck // it is only compared with nil
	})
	return found || err != nil
}
