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
// Each write names the revision that it replaces (compare-and-set), and so does each
// deletion: nobody overwrites or deletes what they have not seen.
//
//	Put, Delete ──▶ write, if what was last known still stands ──▶ stored
//	      │           └─▶ refused, or no answer ──▶ doubt
//	      └─ in doubt ──▶ ask the leader what stands there ─┬─▶ the same as before ──▶ write
//	                                                        ├─▶ a write of ours ─────▶ stored, or write
//	                                                        └─▶ another's ───────────▶ [ConflictError]
//
// An answer that was lost and a conflict are different things, and only what stands
// there tells them apart: a write carries the name of its writer, so that a register
// recognizes one of its own that was stored unheard. A write that is still on its way
// when it is given up can do no harm later: it has its condition, like the one that
// follows it.
//
// A Register is used by one owner, which begins a write when the one before has been
// answered.
type Register struct {
	conn        *Conn
	bucket, key string
	// writer is the name under which the owner writes. If it is soleWriter, whatever
	// stands there is the owner's from before.
	writer string
	last   Record // what the next write replaces
	doubt  bool   // what stands there has to be asked for before the next write
}

// soleWriter is the name of one whose keys nobody else writes.
const soleWriter = ""

// headerWriter is the name of who wrote a value.
const headerWriter = "Poked-Writer"

// maxWrites bounds how often a write is repeated that somebody keeps from being
// stored, though nothing stands there that anybody else has written.
const maxWrites = 8

// errNotSettled says that a write was refused again and again.
var errNotSettled = errors.New("refused again and again, and nobody else has written")

// ConflictError says that another writer's value stands where a write was to go, or
// that something was deleted there. The write was not stored, and will not be.
type ConflictError struct {
	Bucket, Key string

	Stands Record
}

func (e *ConflictError) Error() string {
	return fmt.Sprintf("another has written %s of %s, revision %d", e.Key, e.Bucket, e.Stands.Revision)
}

// Nothing reports whether nothing stands there, nor a mark that somebody deleted it:
// it has grown too old, or the bucket was made anew.
func (e *ConflictError) Nothing() bool { return !e.Stands.There && e.Stands.Revision == 0 }

// Register returns the register of a key that was read at a revision; 0 says that
// nothing was there.
func (c *Conn) Register(bucket, key, writer string, revision uint64) *Register {
	return &Register{
		conn: c, bucket: bucket, key: key, writer: writer, last: Record{Revision: revision, There: revision > 0},
	}
}

// unread returns the register of a key of which nothing is known yet: the first write
// asks.
func (c *Conn) unread(bucket, key, writer string) *Register {
	return &Register{conn: c, bucket: bucket, key: key, writer: writer, doubt: true}
}

// Stands reports whether a value may stand there by all that the owner knows.
func (r *Register) Stands() bool { return r.last.There || r.doubt }

// Last returns the value as the owner last knew it, which the next write replaces.
func (r *Register) Last() Record { return r.last }

// Adopt makes what stands there, by a conflict, what the next write replaces.
func (r *Register) Adopt(conflict *ConflictError) { r.last = conflict.Stands }

// Put writes a value without waiting. done is called once, in another goroutine, and
// must not block: with nil when the value is stored, with a [ConflictError] if
// another's stands there, and with any other error when the value is not known to be
// stored; the next write then finds out first.
func (r *Register) Put(value []byte, done func(error)) { r.begin(&change{r: r, value: value}, done) }

// Delete deletes the value, under the same terms. What is gone already is deleted.
func (r *Register) Delete(done func(error)) { r.begin(&change{r: r, gone: true}, done) }

// Set is [Register.Put] that waits for the answer, for as long as ctx allows and
// requestTimeout at most for each question.
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

// change is a write of a register, from question to question.
type change struct {
	r      *Register
	value  []byte
	gone   bool // it deletes
	writes int
}

// question returns what the server is asked next: to store the write, or what stands
// there.
func (c *change) question() *nats.Msg {
	r := c.r
	subject := kvSubject(r.bucket, r.key)
	if r.doubt {
		return &nats.Msg{Subject: leaderSubject(bucketStream(r.bucket)), Data: query{Last: subject}.encode()}
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

// answered takes in the answer to the question. It reports whether that ends the
// change, and how.
func (c *change) answered(answer *nats.Msg, err error) (over bool, result error) {
	r := c.r
	if r.doubt {
		var stands Record
		if err == nil {
			stands, err = standing(answer)
		}
		if err != nil {
			return true, fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
		}
		return c.found(stands)
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

// found takes in what stands there after a write that was refused, or had no answer.
func (c *change) found(stands Record) (over bool, result error) {
	r := c.r
	ours := r.writer == soleWriter || stands.writer == r.writer
	// Only a write of this change counts: what stands there from before may be about
	// to grow too old.
	asWanted := stands.There != c.gone && (c.gone || ours && c.writes > 0 && stands.Value == string(c.value))
	before := stands.Revision == r.last.Revision || !stands.There && !r.last.There
	r.doubt = false
	if !asWanted && !ours && !before {
		return true, &ConflictError{Bucket: r.bucket, Key: r.key, Stands: stands}
	}
	r.last = stands
	if !asWanted && c.writes >= maxWrites {
		return true, errNotSettled
	}
	return asWanted, nil
}

// named says in an error which key it is about.
func (c *change) named(err error) error {
	if conflict := new(ConflictError); err == nil || errors.As(err, &conflict) {
		return err
	}
	return fmt.Errorf("write %s of %s: %w", c.r.key, c.r.bucket, err)
}

// standing reads what the leader says stands under a key.
func standing(answer *nats.Msg) (Record, error) {
	msg, err := readLeader(answer.Data)
	if err != nil || msg == nil {
		return Record{}, err
	}
	return recordOf(msg), nil
}

// isRefused reports whether the server has answered that it does not store a message,
// for another reason than that its condition does not hold: there is no use in asking
// at once whether it is stored.
func isRefused(err error) bool {
	var api *jetstream.APIError
	return errors.Is(err, ErrNoStreams) || errors.Is(err, nats.ErrNoResponders) || errors.As(err, &api) && !isWrongLast(err)
}
