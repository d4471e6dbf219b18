package chaos

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sort"
	"time"

	"poked/events"
)

// The dispatchers' logs show which dispatcher knew what, and when: a line is written as
// soon as an answer arrived.

// delivered is a log line about a delivered poke.
type delivered struct {
	dispatcher int
	at         time.Time
}

// deliveryLogs is the content of the dispatchers' logs.
type deliveryLogs struct {
	delivered map[loggedPoke][]delivered // in order
	stopped   map[string]stoppage        // by dispatcher and reader, until it reads again
	stoppages []stoppage                 // those that are over
	troubles  [][]time.Time              // times of each dispatcher's log lines about trouble with NATS, in order
}

// loggedPoke identifies a poke as log lines do.
type loggedPoke struct {
	pusher events.PusherID
	event  events.EventID
}

// troublesome returns the log messages of a dispatcher that could not store what it did.
func troublesome() []string {
	return []string{
		"nats is away", "position not stored, trying again", "position not stored yet", "backlog not stored, trying again",
		"heartbeat not stored, trying until it is", "owner of a partition not stored, trying again",
		"another dispatcher has taken over", "outcome not stored, trying the poke again",
	}
}

// What a dispatcher logs when a reader has lost its consumer, when it reads again, and when the
// process has started.
const (
	stopsReading = "cannot read, trying until it works"
	readsAgain   = "reading again"
	startsAnew   = "pushers and push rules loaded"
)

// readLogs reads the dispatchers' log files.
func readLogs(paths []string) (*deliveryLogs, error) {
	t := &deliveryLogs{delivered: map[loggedPoke][]delivered{}, stopped: map[string]stoppage{}, troubles: make([][]time.Time, len(paths))}
	for n, path := range paths {
		if err := t.read(n, path); err != nil {
			return nil, err
		}
	}
	for _, all := range t.delivered {
		slices.SortFunc(all, func(a, b delivered) int { return a.at.Compare(b.at) })
	}
	return t, nil
}

func (t *deliveryLogs) read(dispatcher int, path string) error {
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
func (t *deliveryLogs) take(dispatcher int, raw []byte) {
	var line struct {
		Time    time.Time       `json:"time"`
		Message string          `json:"msg"`
		Outcome string          `json:"outcome"`
		Pusher  events.PusherID `json:"pusher"`
		Event   events.EventID  `json:"event_id"`
		Stage   string          `json:"stage"`
		Part    int             `json:"part"`
		Error   string          `json:"error"`
	}
	if !bytes.HasPrefix(raw, []byte("{")) || json.Unmarshal(raw, &line) != nil {
		return
	}
	reader := fmt.Sprintf("%d %s %d", dispatcher, line.Stage, line.Part)
	switch {
	case line.Message == stopsReading && line.Stage != "":
		t.stopped[reader] = stoppage{Dispatcher: dispatcher, Reader: fmt.Sprintf("%s %d", line.Stage, line.Part), At: line.Time, Error: line.Error}
	case line.Message == readsAgain:
		if s, ok := t.stopped[reader]; ok {
			s.For = line.Time.Sub(s.At)
			t.stoppages = append(t.stoppages, s)
			delete(t.stopped, reader)
		}
	case line.Message == startsAnew:
		maps.DeleteFunc(t.stopped, func(_ string, s stoppage) bool { return s.Dispatcher == dispatcher })
	case line.Message == "poke" && line.Outcome == "delivered":
		id := loggedPoke{line.Pusher, line.Event}
		t.delivered[id] = append(t.delivered[id], delivered{dispatcher, line.Time})
	case slices.Contains(troublesome(), line.Message):
		t.troubles[dispatcher] = append(t.troubles[dispatcher], line.Time)
	}
}

// deliveredBetween returns the first log line between two times about the delivery of a poke.
func (t *deliveryLogs) deliveredBetween(id loggedPoke, from, to time.Time) (delivered, bool) {
	for _, d := range t.delivered[id] {
		if !d.at.Before(from) && d.at.Before(to) {
			return d, true
		}
	}
	return delivered{}, false
}

// troubled reports whether a dispatcher logged trouble with NATS between two times.
func (t *deliveryLogs) troubled(dispatcher int, from, to time.Time) bool {
	all := t.troubles[dispatcher]
	at := sort.Search(len(all), func(n int) bool { return all[n].After(from) })
	return at < len(all) && all[at].Before(to)
}
