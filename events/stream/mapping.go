package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"poked/events"
)

// Mapping returns where the subject mapping of the account must lead room.*.>, or "" if there
// must be none.
func (t Topology) Mapping() string {
	if t.Streams <= 1 {
		return ""
	}
	return PartitionedRooms(t.Partitions)
}

// CheckMapping compares the subject mapping of the account with the streams: it asks for each
// partition which stream takes what is published on room.<room>.…, and stores nothing. mapped
// is false if no stream takes it, as without a mapping when there are several streams: then
// only poked itself can publish. An error wraps [ErrMapping] if NATS stores rooms where nobody
// looks for them, and [ErrNotReady] as well if it stores some nowhere: a stream may be without
// a leader for the moment.
func (c *Conn) CheckMapping(ctx context.Context) (mapped bool, err error) {
	subjects := events.BarrierSubjects(c.topology.Partitions)
	if c.topology.Streams <= 1 {
		subjects = subjects[:1]
	}
	untaken := 0
	for part, subject := range subjects {
		name, err := c.takenBy(ctx, subject)
		if err != nil {
			return false, c.notReady(fmt.Errorf("check the subject mapping: %w", err))
		}
		switch want := c.topology.StreamOf(Rooms, part); name {
		case want:
		case "":
			untaken++
		default:
			return false, fmt.Errorf("%w: %s, of partition %d, goes to %s and not to %s; %s",
				ErrMapping, subject, part, name, want, c.topology.mappingHint())
		}
	}
	switch {
	case untaken == len(subjects) && c.topology.Streams > 1:
		return false, nil
	case untaken > 0:
		return false, fmt.Errorf("%w: %w: no stream takes what is published in %d of %d partitions; %s",
			ErrNotReady, ErrMapping, untaken, len(subjects), c.topology.mappingHint())
	}
	return true, nil
}

// mappingHint says what the mapping must be.
func (t Topology) mappingHint() string {
	if to := t.Mapping(); to != "" {
		return fmt.Sprintf("set mappings: { \"room.*.>\": %q } in poked's account", to)
	}
	return "with one stream there must be no mapping of room.*.> in poked's account"
}

// errCodeOtherStream is the server's error code for a message that expects another stream.
const errCodeOtherStream jetstream.ErrorCode = 10060

// readTaker returns the name of the stream that refused a message for another.
func readTaker(raw []byte) (string, error) {
	var ack struct {
		Stream string              `json:"stream"`
		Error  *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(raw, &ack); err != nil {
		return "", fmt.Errorf("read acknowledgement: %w", err)
	}
	if ack.Error != nil && ack.Error.ErrorCode != errCodeOtherStream {
		return "", ack.Error
	}
	return ack.Stream, nil
}

// takenBy returns the name of the stream that takes what is published on a subject, or "".
// What it publishes no stream stores, since it expects a stream that cannot exist.
func (c *Conn) takenBy(ctx context.Context, subject string) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	answer, err := c.nc.RequestMsgWithContext(ctx, &nats.Msg{
		Subject: subject, Header: nats.Header{jetstream.ExpectedStreamHeader: {"-"}},
	})
	if errors.Is(err, nats.ErrNoResponders) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	return readTaker(answer.Data)
}
