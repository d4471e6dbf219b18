package cli

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"iter"

	"poked/events"
)

// record is one line of input.
type record struct {
	file string
	line int
	raw  []byte // nil if the line was longer than it may be
	size int    // of the line as it was read, in bytes
}

// readRecords yields the lines of r that are not blank. It keeps one line at a time in
// memory, and none that is longer than an event may be.
func readRecords(file string, r io.Reader) iter.Seq2[record, error] {
	return readLines(file, r, events.MaxEventBytes)
}

// readLines is readRecords with another limit in bytes, without the line ending.
func readLines(file string, r io.Reader, limit int) iter.Seq2[record, error] {
	return func(yield func(record, error) bool) {
		in := bufio.NewReaderSize(r, limit+len("\r\n"))
		for line := 1; ; line++ {
			raw, size, err := readLine(in)
			if err != nil && !errors.Is(err, io.EOF) {
				yield(record{}, fmt.Errorf("read %s: %w", file, err))
				return
			}
			blank := raw != nil && len(bytes.TrimSpace(raw)) == 0
			if !blank && !yield(record{file: file, line: line, raw: raw, size: size}, nil) {
				return
			}
			if err != nil {
				return
			}
		}
	}
}

// readLine returns a line, which the caller may keep, and its size in the input. For a
// line that does not fit in the buffer it returns nil. It returns the last line together
// with io.EOF; that line is empty if the input ends with a newline.
func readLine(in *bufio.Reader) (line []byte, size int, err error) {
	part, err := in.ReadSlice('\n')
	size = len(part)
	if !errors.Is(err, bufio.ErrBufferFull) {
		return append([]byte{}, bytes.TrimRight(part, "\r\n")...), size, err
	}
	for errors.Is(err, bufio.ErrBufferFull) {
		part, err = in.ReadSlice('\n')
		size += len(part)
	}
	return nil, size, err
}
