package stream

import (
	"context"
	"errors"
	"fmt"
	"strconv"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
)

// Register is the value of one key of a bucket that several processes may write.
// Each write and each deletion names the revision that it replaces (compare-and-set),
// so no process overwrites or deletes what it has not seen.
//
//	Put, Delete ──▶ write on the condition of the last known revision ──▶ stored
//	      │           └─▶ refused, or no answer ──▶ doubt
//	      └─ in doubt ──▶ ask the leader for the value ─┬─▶ the same as before ──▶ write
//	                                                    ├─▶ a write of ours ─────▶ stored, or write
//	                                                    └─▶ another writer's ────▶ [ConflictError]
//
// A lost answer and a conflict are different, and only the stored value tells them apart:
// each write carries the name of its writer, so that a register recognizes its own write
// whose answer was lost. A write that was given up and is stored later does no harm: it has
// the same condition as the write that follows it.
//
// One goroutine at a time uses a Register, and begins a write only when the one before has
// been answered.
type Register struct {
	conn        *Conn
	bucket, key string
	// writer is the name under which the owner writes. If it is soleWriter, any stored
	// value is the owner's.
	writer string
	// strict is set if a deletion by another writer is a conflict as well, even for a
	// deletion.
	strict bool
	last   Record // what the next write replaces
	doubt  bool   // the value has to be read before the next write
}

// soleWriter is the name of the only writer of its keys.
const soleWriter = ""

// headerWriter is the header with the name of a value's writer.
const headerWriter = "Poked-Writer"

// maxWrites limits the repetitions of a write that is refused although no other writer's
// value is stored.
const maxWrites = 8

// errNotSettled is returned when a write was refused maxWrites times.
var errNotSettled = errors.New("refused repeatedly, although no other writer has written")

// ConflictError reports that a key has another writer's value, or that another writer
// deleted it. The write was not stored, and will not be.
type ConflictError struct {
	Bucket, Key string

	// Found is the state of the key that the write found.
	Found Record
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("another has written %s of %s, revision %d", e.Key, e.Bucket, e.Found.Revision)
}

// Nothing reports whether the key has neither a value nor a deletion marker: it expired,
// or the bucket was made anew.
func (e *ConflictError) Nothing() bool { return !e.Found.There && e.Found.Revision == 0 }

// Register returns the register of a key that was read at a revision, or 0 if it did not
// exist. writer is the owner's name.
func (c *Conn) Register(bucket, key, writer string, revision uint64) *Register {
	return &Register{
		conn: c, bucket: bucket, key: key, writer: writer, last: Record{Revision: revision, There: revision > 0},
	}
}

// unread returns the register of a key that was not read yet: the first write reads it.
func (c *Conn) unread(bucket, key, writer string) *Register {
	return &Register{conn: c, bucket: bucket, key: key, writer: writer, doubt: true}
}

// Exists reports whether the key may have a value, as far as the owner knows.
func (r *Register) Exists() bool { return r.last.There || r.doubt }

// Last returns the value as the owner last knew it, which the next write replaces.
func (r *Register) Last() Record { return r.last }

// Adopt makes the state that a conflict found the one that the next write replaces.
func (r *Register) Adopt(conflict *ConflictError) { r.last = conflict.Found }

// Put stores a value without waiting. done is called once, in another goroutine, and must
// not block: with nil when the value is stored, with a [ConflictError] if the key has
// another writer's value, and with any other error if the outcome is unknown; the next
// write then reads the key first.
func (r *Register) Put(value []byte, done func(error)) { r.begin(&change{r: r, value: value}, done) }

// Delete deletes the value, under the same terms as Put. A value that is gone already
// counts as deleted.
func (r *Register) Delete(done func(error)) { r.begin(&change{r: r, gone: true}, done) }

// Set is [Register.Put] that waits for the answer, as long as ctx allows and at most
// [RequestTimeout] for each request.
func (r *Register) Set(ctx context.Context, value []byte) error {
	return r.change(ctx, &change{r: r, value: value})
}

// Clear is [Register.Delete] that waits.
func (r *Register) Clear(ctx context.Context) error { return r.change(ctx, &change{r: r, gone: true}) }

func (r *Register) begin(c *change, done func(error)) {
	r.conn.askAsync(c.question(), func(answer *nats.Msg, err error) {
		over, err := c.answered(answer, err)
		if !over {
			r.begin(c, done)
			return
		}
		done(c.named(err))
	})
}

func (r *Register) change(ctx context.Context, c *change) error {
	for {
		answer, err := r.request(ctx, c.question())
		over, err := c.answered(answer, err)
		if over {
			return c.named(err)
		}
	}
}

func (r *Register) request(ctx context.Context, question *nats.Msg) (*nats.Msg, error) {
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	return r.conn.nc.RequestMsgWithContext(ctx, question)
}

// change is one write of a register, with all its requests.
type change struct {
	r      *Register
	value  []byte
	gone   bool // it is a deletion
	writes int
}

// question returns the next request to the server: the write, or, in doubt, a read.
func (c *change) question() *nats.Msg {
	r := c.r
	subject := kvSubject(r.bucket, r.key)
	if r.doubt {
		return &nats.Msg{Subject: leaderSubject(bucketStream(r.bucket)), Data: Query{Last: subject}.encode()}
	}
	c.writes++
	header := nats.Header{jetstream.ExpectedLastSubjSeqHeader: {strconv.FormatUint(r.last.Revision, 10)}}
	if r.writer != soleWriter {
		header[headerWriter] = []string{r.writer}
	}
	if c.gone {
		header[headerOperation] = []string{"PURGE"}
		header[jetstream.MsgRollup] = []string{jetstream.MsgRollupSubject}
		if ttl := markerTTLOf(r.bucket); ttl > 0 {
			header[jetstream.MsgTTLHeader] = []string{ttl.String()}
		}
	}
	return &nats.Msg{Subject: subject, Header: header, Data: c.value}
}

// answered handles the answer to the request. over reports whether that ends the change.
func (c *change) answered(answer *nats.Msg, err error) (over bool, result error) {
	r := c.r
	if r.doubt {
		var found Record
		if err == nil {
			found, err = decodeRecord(answer)
		}
		if err != nil {
			return true, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return c.settle(found)
	}
	var seq uint64
	if err == nil {
		seq, err = readAck(answer)
	}
	if err == nil {
		r.last = Record{Value: string(c.value), Revision: seq, There: !c.gone, writer: r.writer}
		return true, nil
	}
	r.doubt = true
	return isRefused(err), err
}

// isOurs reports whether the owner has written a state of the key.
func (r *Register) isOurs(found Record) bool {
	return r.writer == soleWriter || found.writer == r.writer
}

// settle handles the state of the key after a write that was refused or had no answer.
func (c *change) settle(found Record) (over bool, result error) {
	r := c.r
	ours, same := r.isOurs(found), found.Revision == r.last.Revision
	// Only a write of this change counts, even if an older one left the same value: that
	// value may be about to expire, or another writer about to replace it.
	asWanted := found.There != c.gone && (c.gone && !r.strict || ours && c.writes > 0 && !same && found.Value == string(c.value))
	before := same || !r.strict && !found.There && !r.last.There
	r.doubt = false
	if !asWanted && !ours && !before {
		return true, &ConflictError{Bucket: r.bucket, Key: r.key, Found: found}
	}
	r.last = found
	if !asWanted && c.writes >= maxWrites {
		return true, errNotSettled
	}
	return asWanted, nil
}

// named adds the key to an error.
func (c *change) named(err error) error {
	if conflict := new(ConflictError); err == nil || errors.As(err, &conflict) {
		return err
	}
	return fmt.Errorf("write %s of %s: %w", c.r.key, c.r.bucket, err)
}

// decodeRecord decodes the leader's answer to a read of a key.
func decodeRecord(answer *nats.Msg) (Record, error) {
	msg, err := readLeader(answer.Data)
	if err != nil || msg == nil {
		return Record{}, err
	}
	return recordOf(msg), nil
}

// isRefused reports whether the server answered that it does not store a message, for
// another reason than its condition. Then there is no need to read the key at once.
func isRefused(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, ErrNoStreams) || errors.Is(err, nats.ErrNoResponders) || errors.As(err, &api) && !IsWrongLast(err)
}

// IsWrongLast reports whether the server refused a message because its subject has
// another last sequence than expected.
func IsWrongLast(err error) bool {
	var api *jetstream.APIError
	if !errors.As(err, &api) {
		return false
	}
	switch api.ErrorCode {
	case jetstream.JSErrCodeStreamWrongLastSequence, jetstream.JSErrCodeStreamWrongLastSequenceConstant:
		return true
	}
	return false
}
