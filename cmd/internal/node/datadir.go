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

// DataDir is the directory in which poked serve keeps everything. It is locked
// while it is open: two NATS servers on the same files would destroy them.
type DataDir struct {
	Path string
	lock *flock.Flock
	made bool // by this start, which has not come up yet
}

// OpenDataDir makes the directory, for its owner only, and locks it. The lock
// ends with the process, however that ends.
func OpenDataDir(path string) (*DataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	_, err = os.Lstat(path)
	made := errors.Is(err, os.ErrNotExist)
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
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

// Below returns the place of a file in the directory.
func (d *DataDir) Below(name string) string { return filepath.Join(d.Path, name) }

// WarnIfShared warns when others can look into the directory. What poked makes there
// is for its owner only; the directory is not, and may have been opened on purpose, to
// whoever makes backups.
func (d *DataDir) WarnIfShared(log *slog.Logger) {
	info, err := os.Stat(d.Path)
	if err != nil || info.Mode().Perm()&0o077 == 0 {
		return // who cannot look at it will fail with what stands in it
	}
	log.Warn("others than its owner can enter the data directory; chmod 700 keeps them out", "data", d.Path, "mode", info.Mode().Perm().String())
}

// Keep says that what stands in the directory counts from now on.
func (d *DataDir) Keep() { d.made = false }

// Close unlocks the directory. A start that made it and failed leaves nothing behind,
// unless a homeserver has stored something there already.
func (d *DataDir) Close() {
	if d.made && !d.holdsMessages() {
		_ = os.RemoveAll(d.Path) // what cannot be removed is only untidy
	}
	_ = d.lock.Close()
}

// holdsMessages reports whether a stream stores anything: a block file of NATS is empty
// until it holds a message.
func (d *DataDir) holdsMessages() (found bool) {
	err := filepath.WalkDir(d.Path, func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".blk" {
			return err
		}
		info, err := os.Stat(path)
		found = found || err != nil || info.Size() > 0
		return err //nolint:wrapcheck // it only says that nothing is sure
	})
	return found || err != nil
}
