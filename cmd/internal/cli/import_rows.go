package cli

import (
	"bufio"
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"
	"strconv"
	"strings"
	"time"

	"poked/events"
	"poked/registry"
)

// importInput is the input of an import; file is nil for standard input.
type importInput struct {
	io.Reader

	file *os.File
}

// Close closes the file, if it is one.
func (i importInput) Close() error {
	if i.file == nil {
		return nil
	}
	return i.file.Close()
}

// counted counts the bytes read from in.
type counted struct {
	in io.Reader
	n  int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.n += int64(n)
	return n, err
}

// importReader reads the rows of an exported table.
type importReader struct {
	read *counted
	in   *bufio.Reader
}

func newImportReader(in io.Reader) *importReader {
	read := &counted{in: in}
	return &importReader{read: read, in: bufio.NewReader(read)}
}

// rows yields the rows. Input that begins with { or [ is JSON, anything else CSV.
func (r *importReader) rows() iter.Seq2[importRow, error] {
	if mark, err := r.in.Peek(3); err == nil && bytes.Equal(mark, []byte("\xef\xbb\xbf")) {
		_, _ = r.in.Discard(len(mark)) // it was seen just now
	}
	for {
		first, err := r.in.Peek(1)
		switch {
		case err != nil:
			return func(yield func(importRow, error) bool) {
				if !errors.Is(err, io.EOF) {
					yield(nil, fmt.Errorf("read input: %w", err))
				}
			}
		case strings.ContainsRune(" \t\r\n", rune(first[0])):
			_, _ = r.in.Discard(1) // it was seen just now
		case first[0] == '{':
			return r.jsonRows(false)
		case first[0] == '[':
			return r.jsonRows(true)
		default:
			return r.csvRows()
		}
	}
}

// jsonRows reads a sequence of objects, or the objects of an array.
func (r *importReader) jsonRows(array bool) iter.Seq2[importRow, error] {
	return func(yield func(importRow, error) bool) {
		decoder := json.NewDecoder(r.in)
		decoder.UseNumber()
		if array {
			_, _ = decoder.Token() // the bracket, which was seen just now
		}
		for number := 1; !array || decoder.More(); number++ {
			var row importRow
			err := decoder.Decode(&row)
			if errors.Is(err, io.EOF) && !array {
				return
			}
			if err != nil { // its text may contain what was read, such as a pushkey
				yield(nil, fmt.Errorf("read input: row %d is not a JSON object", number))
				return
			}
			if !yield(row, nil) {
				return
			}
		}
		if _, err := decoder.Token(); err != nil {
			yield(nil, errors.New("read input: the JSON array has no end"))
		}
	}
}

func (r *importReader) csvRows() iter.Seq2[importRow, error] {
	return func(yield func(importRow, error) bool) {
		reader := csv.NewReader(r.in)
		head, err := reader.Read()
		if err != nil {
			yield(nil, errors.New("read input: it has no header row with column names"))
			return
		}
		for {
			cells, err := reader.Read()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil { // it has the position, and not the content
				yield(nil, fmt.Errorf("read input: %w", err))
				return
			}
			row := importRow{}
			for i, cell := range cells {
				row[head[i]] = cell
			}
			if !yield(row, nil) {
				return
			}
		}
	}
}

// importRow is one row of the table by column name; values are text or decoded JSON.
type importRow map[string]any

// text returns a column as text, "" if it is null or missing.
func (r importRow) text(column string) string {
	switch value := r[column].(type) {
	case nil:
		return ""
	case string:
		return value
	case json.Number:
		return value.String()
	default:
		encoded, _ := json.Marshal(value) // it was JSON
		return string(encoded)
	}
}

// pusher converts a row of this homeserver's table. It does not validate: the registry
// refuses what is missing or wrong.
func (r importRow) pusher(from, serverName string) registry.Import {
	if from == "dendrite" {
		if name := r.text("server_name"); name != "" {
			serverName = name
		}
		return r.with(events.UserID("@"+r.text("localpart")+":"+serverName), "pushkey_ts_ms")
	}
	return r.with(events.UserID(r.text("user_name")), "ts")
}

// firstMilliseconds is the number from which a time is taken for milliseconds since the
// epoch: March 1973. In seconds that is the year 5138.
const firstMilliseconds = 100_000_000_000

func (r importRow) with(user events.UserID, setAt string) registry.Import {
	body := map[string]any{"data": json.RawMessage(r.text("data"))}
	if !json.Valid([]byte(r.text("data"))) {
		body["data"] = "no JSON"
	}
	for _, key := range []string{"kind", "app_id", "app_display_name", "device_display_name", "pushkey", "profile_tag", "lang"} {
		body[key] = r.text(key)
	}
	switch r.text("enabled") {
	case "f", "false", "0":
		body["enabled"] = false
	}
	p := registry.Import{UserID: user, DeviceID: r.text("device_id"), Body: body}
	switch at, err := strconv.ParseInt(r.text(setAt), 10, 64); {
	case err != nil || at <= 0:
	case at < firstMilliseconds: // Dendrite's pushkey_ts_ms holds seconds
		p.SetAt = time.Unix(at, 0)
	default:
		p.SetAt = time.UnixMilli(at)
	}
	return p
}
