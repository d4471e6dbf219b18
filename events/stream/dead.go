package stream

import (
	"encoding/json"
	"fmt"

	"poked/events"
)

// MaxDeadMessage is how many bytes of an unreadable message a dead letter keeps, so that
// its base64 stays below the 1 MiB that NATS allows.
const MaxDeadMessage = 512 << 10

// PublishDead stores a dead letter. done is called once and must not block.
func (c *Conn) PublishDead(letter events.DeadLetter, done func(error)) {
	letter.Message = letter.Message[:min(len(letter.Message), MaxDeadMessage)]
	letter.Locate()
	user := events.Token(letter.UserID)
	c.publishJSON("dead."+c.topology.partOf(user)+"."+user, letter, done)
}

func (c *Conn) publishJSON(subject string, value any, done func(error)) {
	body, err := json.Marshal(value)
	if err != nil {
		done(fmt.Errorf("encode: %w", err))
		return
	}
	batch := c.NewBatch(done)
	batch.Add(subject, nil, body)
	batch.Send()
}
