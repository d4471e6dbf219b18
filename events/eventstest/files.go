package eventstest

import (
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	memoryFiles = "/dev/shm"
	// memoryNeeded is how many bytes must be free there: far more than a test stores.
	memoryNeeded = 1 << 30
)

// filesDir returns a directory for the files of a server, which ends with the test. It is in
// memory if the system has a file system for that: no test simulates a power cut, and to
// create the files of a dozen streams on a disk takes longer than most tests. A benchmark
// measures the disk, and may fill the memory.
func filesDir(t testing.TB) string {
	t.Helper()
	var fs unix.Statfs_t
	_, isTest := t.(*testing.T)
	if !isTest || unix.Statfs(memoryFiles, &fs) != nil || fs.Bavail*uint64(fs.Bsize) < memoryNeeded { //nolint:gosec // a size
		return t.TempDir()
	}
	dir, err := os.MkdirTemp(memoryFiles, "poked-test-")
	if err != nil {
		return t.TempDir() // it may not be writable
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the files of the server: %v", err)
		}
	})
	return dir
}
