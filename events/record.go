package events

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// record is a key of a bucket as it was last known.
type record struct {
	value    string
	revision uint64 // 0 if there never was one
	there    bool   // false also for one that was deleted
	heard    time.Time
}

// readRecord asks the leader of a bucket for a key: any other replica may be
// behind.
func (c *Conn) readRecord(ctx context.Context, bucket, key string) (record, error) {
	request, err := json.Marshal(map[string]string{"last_by_subj": kvSubject(bucket, key)})
	if err != nil {
		return record{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	msg, err := c.nc.RequestWithContext(ctx, "$JS.API.STREAM.MSG.GET.KV_"+bucket, request)
	if err != nil {
		return record{}, fmt.Errorf("read %s of %s: %w", key, bucket, err)
	}
	var answer struct {
		Message struct {
			Seq     uint64 `json:"seq"`
			Data    []byte `json:"data"`
			Headers []byte `json:"hdrs"`
		} `json:"message"`
		Error *jetstream.APIError `json:"error"`
	}
	if err := json.Unmarshal(msg.Data, &answer); err != nil {
		return record{}, fmt.Errorf("read %s of %s: %w", key, bucket, err)
	}
	switch e := answer.Error; {
	case e != nil && e.ErrorCode == jetstream.JSErrCodeMessageNotFound:
		return record{}, nil
	case e != nil:
		return record{}, fmt.Errorf("read %s of %s: %w", key, bucket, e)
	}
	m := answer.Message
	return record{value: string(m.Data), revision: m.Seq, there: !bytes.Contains(m.Headers, []byte("KV-Operation:"))}, nil
}

// ownerKey is where in POSITIONS it stands whose a partition is.
func ownerKey(part int) string { return "part." + strconv.Itoa(part) }
