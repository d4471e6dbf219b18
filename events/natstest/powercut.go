package natstest

import (
	"os"
	"path/filepath"
	"slices"
)

// LoseEnd imitates a power cut, by which streams lose what was not on disk yet: the last
// bytes of each. It stops the server, and starts it again.
func (s *Server) LoseEnd(bytes int64, streams ...string) {
	s.t.Helper()
	s.Stop()
	for _, dir := range s.dirsOf(streams) {
		blocks, err := filepath.Glob(filepath.Join(dir, "*.blk"))
		if err != nil || len(blocks) == 0 {
			s.t.Fatalf("%s has no blocks: %v", dir, err)
		}
		slices.SortFunc(blocks, func(a, b string) int { return len(a) - len(b) })
		last := blocks[len(blocks)-1]
		info, err := os.Stat(last)
		if err == nil {
			err = os.Truncate(last, max(info.Size()-bytes, 0))
		}
		if err == nil {
			err = os.Remove(filepath.Join(dir, "index.db"))
		}
		if err == nil { // how far a stream that is filled from others was; only such a one has it
			err = os.RemoveAll(filepath.Join(filepath.Dir(dir), "sources.db"))
		}
		if err != nil {
			s.t.Fatalf("cut %s: %v", last, err)
		}
	}
	s.Start()
}

// dirsOf returns the directories with the messages of streams.
func (s *Server) dirsOf(streams []string) (dirs []string) {
	s.t.Helper()
	parent := filepath.Join(s.dir, "jetstream", "$G", "streams")
	there, err := os.ReadDir(parent)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, entry := range there {
		if slices.ContainsFunc(streams, func(meant string) bool { return isOf(entry.Name(), meant) }) {
			dirs = append(dirs, filepath.Join(parent, entry.Name(), "msgs"))
		}
	}
	return dirs
}
