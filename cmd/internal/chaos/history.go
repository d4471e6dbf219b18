package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"poked/events"
	"poked/events/operator"
	"poked/events/stream"
)

// history is everything recorded in a run.
type history struct {
	people     *population
	partitions int
	model      model
	lasts      []delivery // pokes of the last message in each room
	dead       map[delivery]bool
	logs       *deliveryLogs
	acks       []acknowledged // of everything that the homeserver published

	stored map[events.UserID][]storedNotification // in order

	Faults         []injected `json:"faults"`
	Pokes          []request  `json:"pokes"` // in order of arrival
	Healed         time.Time  `json:"healed"`
	Last           time.Time  `json:"last"` // when the last messages were sent
	Messages       int64      `json:"messages"`
	Receipts       int64      `json:"receipts"`
	Redactions     int64      `json:"redactions"`
	Unacknowledged int64      `json:"unacknowledged"` // attempts to publish
	EndedAlone     int        `json:"ended_alone"`    // processes that ended by themselves
}

// readDead reads the dead letters.
func (h *history) readDead(ctx context.Context, conn *stream.Conn) error {
	h.dead = map[delivery]bool{}
	for letter, err := range operator.NewClient(conn).DeadLetters(ctx, operator.DeadFilter{}) {
		if err != nil {
			return err
		}
		h.dead[delivery{letter.Pushkey, letter.EventID}] = true
	}
	return nil
}

// save writes the history to a file.
func (h *history) save(path string) error {
	file, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("save history: %w", err)
	}
	return errors.Join(json.NewEncoder(file).Encode(h), file.Close())
}
