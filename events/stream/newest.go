package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/synadia-io/orbit.go/natsext"
)

// ErrTooMany is returned when the newest messages of a filter's subjects do not fit one
// answer of the server's.
var ErrTooMany = errors.New("too many subjects for one answer")

// Newest asks for the last message of each subject that matches one of the filters, up to
// the sequence UpTo, if that is not 0.
type Newest struct {
	Filters []string `json:"multi_last"`
	UpTo    uint64   `json:"up_to_seq,omitempty"`
}

// ReadNewest returns the messages that q asks for, by sequence. heard is the last
// sequence that the answering server had, or 0 if it found no message. The server answers
// from its index of subjects, however long the stream is.
func (c *Conn) ReadNewest(ctx context.Context, stream string, q Newest) (page []*jetstream.RawStreamMsg, heard uint64, err error) {
	page, heard, err = c.requestNewest(ctx, stream, q)
	if err != nil {
		return nil, 0, fmt.Errorf("read newest of %s: %w", stream, err)
	}
	return page, heard, nil
}

func (c *Conn) requestNewest(ctx context.Context, stream string, q Newest) (page []*jetstream.RawStreamMsg, heard uint64, err error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	request, err := json.Marshal(q)
	if err != nil {
		return nil, 0, err
	}
	nc, _, err := c.reading()
	if err != nil {
		return nil, 0, err
	}
	var end nats.Header // of the last answer, which is no message
	answers, err := natsext.RequestMany(ctx, nc, "$JS.API.DIRECT.GET."+stream, request,
		natsext.RequestManySentinel(func(m *nats.Msg) bool {
			if m.Header.Get("Status") != "" {
				end = m.Header
			}
			return end != nil
		}))
	if err != nil {
		return nil, 0, err
	}
	for m, err := range answers {
		if err != nil {
			return nil, 0, err
		}
		seq, err := strconv.ParseUint(m.Header.Get(jetstream.SequenceHeader), 10, 64)
		if err != nil {
			return nil, 0, fmt.Errorf("sequence: %w", err)
		}
		page = append(page, &jetstream.RawStreamMsg{
			Subject: m.Header.Get(jetstream.SubjectHeader), Sequence: seq, Header: m.Header, Data: m.Data,
		})
	}
	switch {
	case end.Get("Status") == "204" && end.Get(headerPending) == "0":
		heard, err = strconv.ParseUint(end.Get("Nats-UpTo-Sequence"), 10, 64)
		return page, heard, err
	case end.Get("Status") == "404" && len(page) == 0:
		return nil, 0, nil
	case end.Get("Status") == "413":
		return nil, 0, ErrTooMany
	}
	return nil, 0, fmt.Errorf("%w: %s %s", errShortRead, end.Get("Status"), end.Get("Description"))
}
