package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"sort"
	"time"

	"poked/events"
)

// The dispatchers' logs show which dispatcher knew what, and when: a line is written as
// soon as an answer arrived.

// heard is a log line about a delivered poke.
type heard struct {
	dispatcher int
	at         time.Time
}

// testimony is the content of the dispatchers' logs.
type testimony struct {
	delivered map[heardOf][]heard // in order
	troubles  [][]time.Time       // times of each dispatcher's log lines about trouble with NATS, in order
}

// heardOf identifies a poke as log lines do.
type heardOf struct {
	pusher events.PusherID
	event  events.EventID
}

// troublesome returns the log messages of a dispatcher that could not store what it did.
func troublesome() []string {
	return []string{
		"nats is away", "position not stored, trying again", "backlog not stored, trying again",
		"heartbeat not stored, trying until it is", "owner of a partition not stored, trying again",
		"another dispatcher has taken over", "outcome not stored, trying the poke again",
	}
}

// readLogs reads the dispatchers' log files.
func readLogs(paths []string) (*testimony, error) {
	t := &testimony{delivered: map[heardOf][]heard{}, troubles: make([][]time.Time, len(paths))}
	for n, path := range paths {
		if err := t.read(n, path); err != nil {
			return nil, err
		}
	}
	for _, all := range t.delivered {
		slices.SortFunc(all, func(a, b heard) int { return a.at.Compare(b.at) })
	}
	return t, nil
}

func (t *testimony) read(dispatcher int, path string) error {
	file, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read log: %w", err)
	}
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		t.take(dispatcher, lines.Bytes())
	}
	return errors.Join(lines.Err(), file.Close())
}

// take reads one line. A line that is not JSON comes from a process that ended.
func (t *testimony) take(dispatcher int, raw []byte) {
	var line struct {
		Time    time.Time       `json:"time"`
		Message string          `json:"msg"`
		Outcome string          `json:"outcome"`
		Pusher  events.PusherID `json:"pusher"`
		Event   events.EventID  `json:"event_id"`
	}
	if !bytes.HasPrefix(raw, []byte("{")) || json.Unmarshal(raw, &line) != nil {
		return
	}
	switch {
	case line.Message == "poke" && line.Outcome == "delivered":
		id := heardOf{line.Pusher, line.Event}
		t.delivered[id] = append(t.delivered[id], heard{dispatcher, line.Time})
	case slices.Contains(troublesome(), line.Message):
		t.troubles[dispatcher] = append(t.troubles[dispatcher], line.Time)
	}
}

// heardBetween returns the first log line between two times about the delivery of a poke.
func (t *testimony) heardBetween(id heardOf, from, to time.Time) (heard, bool) {
	for _, h := range t.delivered[id] {
		if !h.at.Before(from) && h.at.Before(to) {
			return h, true
		}
	}
	return heard{}, false
}

// troubled reports whether a dispatcher logged trouble with NATS between two times.
func (t *testimony) troubled(dispatcher int, from, to time.Time) bool {
	all := t.troubles[dispatcher]
	at := sort.Search(len(all), func(n int) bool { return all[n].After(from) })
	return at < len(all) && all[at].Before(to)
}
