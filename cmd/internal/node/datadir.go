package node

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"syscall"
)

// DataDir is the directory in which poked serve keeps everything. It is locked
// while it is open: two NATS servers on the same files would destroy them.
type DataDir struct {
	Path string
	lock *os.File
}

// OpenDataDir makes the directory, for its owner only, and locks it. The lock
// ends with the process, however that ends.
func OpenDataDir(path string) (*DataDir, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("find data directory: %w", err)
	}
	if err := os.MkdirAll(path, 0o700); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, fmt.Errorf("lock data directory: another poked uses %s", path)
		}
		return nil, fmt.Errorf("lock data directory: %w", err)
	}
	return &DataDir{Path: path, lock: lock}, nil
}

// Below returns the place of a file in the directory.
func (d *DataDir) Below(name string) string { return filepath.Join(d.Path, name) }

// Close unlocks the directory.
func (d *DataDir) Close() { _ = d.lock.Close() }

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
