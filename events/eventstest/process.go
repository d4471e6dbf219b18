package eventstest

import (
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	// rareGC is by how many percent the heap grows between two garbage collections. A test with
	// a server keeps little and allocates much: a tenth of its processor time went to collections.
	rareGC = 400

	memoryFiles = "/dev/shm"
	// memoryNeeded is how many bytes must be free there: far more than the tests of two packages
	// store.
	memoryNeeded = 2 << 30
)

// Cheap makes tests of this process, and of those that it starts, cost little processor time.
// Garbage collections are rare, unless GOGC is set. Temporary files lie in memory, unless TMPDIR is
// set, if the system has a file system for that: to create the files of a dozen streams on a disk
// takes longer than most tests. Benchmarks measure the disk, and may fill the memory: for them all
// stays as it is.
func Cheap() {
	if Measures() {
		return
	}
	if _, set := os.LookupEnv("GOGC"); !set {
		debug.SetGCPercent(rareGC)
	}
	if _, set := os.LookupEnv("TMPDIR"); set || !memoryHasRoom() {
		return
	}
	if err := os.Setenv("TMPDIR", memoryFiles); err != nil {
		panic(err) //nolint:forbidigo // no test has started that could fail
	}
}

// memoryHasRoom reports whether tests can keep their files in memory, among them programs.
func memoryHasRoom() bool {
	var fs unix.Statfs_t
	if unix.Statfs(memoryFiles, &fs) != nil || unix.Access(memoryFiles, unix.W_OK) != nil {
		return false
	}
	return fs.Flags&unix.ST_NOEXEC == 0 && fs.Bavail*uint64(fs.Bsize) >= memoryNeeded //nolint:gosec // a size
}

// Measures reports whether this process runs benchmarks.
func Measures() bool {
	return slices.ContainsFunc(os.Args, func(arg string) bool { return strings.HasPrefix(arg, "-test.bench=") })
}
