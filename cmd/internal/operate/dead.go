package operate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"time"

	"golang.org/x/time/rate"

	"poked/events"
	"poked/events/operator"
)

// Letters yields what is shown of the first letters: one more than limit, if that is not 0,
// to tell that there are more.
func Letters(letters iter.Seq2[operator.StoredDeadLetter, error], limit int) iter.Seq2[Letter, error] {
	return func(yield func(Letter, error) bool) {
		count := 0
		for letter, err := range letters {
			if count++; !yield(LetterOf(&letter), err) || count == limit+1 && limit > 0 {
				return
			}
		}
	}
}

// Letter is what is shown of a dead letter: never the pushkey, and the message only on
// request.
type Letter struct {
	Seq     uint64            `json:"seq"`
	Reason  events.DeadReason `json:"reason"`
	Detail  string            `json:"detail,omitempty"`
	At      time.Time         `json:"at"`
	UserID  events.UserID     `json:"user_id,omitempty"`
	RoomID  events.RoomID     `json:"room_id,omitempty"`
	EventID events.EventID    `json:"event_id,omitempty"`
	AppID   string            `json:"app_id,omitempty"`
	Pusher  events.PusherID   `json:"pusher,omitempty"`
	Names
	Attempts  int    `json:"attempts,omitempty"`
	LastError string `json:"last_error,omitempty"`
	Subject   string `json:"subject,omitempty"`
	Bytes     int    `json:"bytes"` // of the message that the letter holds
	Message   any    `json:"message,omitempty"`
}

func (l *Letter) names() (events.UserID, events.PusherID, *Names) {
	return l.UserID, l.Pusher, &l.Names
}

// LetterOf returns what is shown of a dead letter, without the message.
func LetterOf(l *operator.StoredDeadLetter) Letter {
	return Letter{
		Seq: l.Seq, Reason: l.Reason, Detail: l.Detail, At: l.At, UserID: l.UserID, RoomID: l.RoomID, EventID: l.EventID,
		AppID: l.AppID, Pusher: l.PusherID(), Attempts: l.Attempts, LastError: l.LastError, Subject: l.Subject, Bytes: len(l.Message),
	}
}

// DeadWork is an operation on dead letters.
type DeadWork struct {
	Doing, Done string                                                                   // its names, such as retrying and retried
	Check       func(*operator.Client, context.Context, operator.StoredDeadLetter) error // whether it is possible; changes nothing
	do          func(*operator.Client, context.Context, uint64) error
}

// RetryDead sends pokes again, and publishes messages again that could not be read.
func RetryDead() DeadWork {
	return DeadWork{Doing: "retrying", Done: "retried", Check: (*operator.Client).CanRetryDead, do: (*operator.Client).RetryDead}
}

// DropDead deletes dead letters.
func DropDead() DeadWork {
	anyway := func(*operator.Client, context.Context, operator.StoredDeadLetter) error { return nil }
	return DeadWork{Doing: "dropping", Done: "dropped", Check: anyway, do: (*operator.Client).DropDead}
}

// DeadSummary counts what an operation did.
type DeadSummary struct {
	Found   int  `json:"found"`   // letters selected
	Done    int  `json:"done"`    // retried or dropped, or would be in a dry run
	Refused int  `json:"refused"` // cannot be retried, and stay
	Gone    int  `json:"gone"`    // retried or dropped by somebody else meanwhile
	DryRun  bool `json:"dry_run"`
	// Complete is false if the run ended before it reached all of them.
	Complete bool `json:"complete"`
}

// Text returns the summary as a sentence without a full stop.
func (s *DeadSummary) Text(work DeadWork) string {
	verb := work.Done
	if s.DryRun {
		verb = "would be " + verb
	}
	line := fmt.Sprintf("of %d dead letters %d %s", s.Found, s.Done, verb)
	if s.Gone > 0 {
		line += fmt.Sprintf(", %d were gone already", s.Gone)
	}
	if s.Refused > 0 {
		line += fmt.Sprintf(", %d cannot be tried again and stay", s.Refused)
	}
	return line
}

// Count counts the outcome for one dead letter. It returns only errors that concern more
// than this one.
func (s *DeadSummary) Count(err error) error {
	switch {
	case err == nil:
		s.Done++
	case errors.Is(err, operator.ErrNoDeadLetter):
		s.Gone++
	case errors.Is(err, operator.ErrNotRetriable):
		s.Refused++
	default:
		return err
	}
	return nil
}

// FindDead selects dead letters: all that filter admits, or the oldest limit of them, if that
// is not 0. It calls each for every one. The letters are selected before anything is done to
// them, so that a retried message that becomes a dead letter again is not selected twice.
func FindDead(ctx context.Context, client *operator.Client, filter operator.DeadFilter, limit int, each func(operator.StoredDeadLetter) error) (seqs []uint64, err error) {
	for letter, err := range client.DeadLetters(ctx, filter) {
		if err != nil {
			return nil, err
		}
		seqs = append(seqs, letter.Seq)
		if err := each(letter); err != nil {
			return nil, err
		}
		if len(seqs) == limit {
			break
		}
	}
	return seqs, nil
}

// Run does the work on each of the letters, at most so many a second as limit allows, and
// counts it in s. After each letter it calls done with why that one was refused, or nil.
func (w DeadWork) Run(ctx context.Context, client *operator.Client, seqs []uint64, limit *rate.Limiter, s *DeadSummary, done func(refused error)) error {
	for _, seq := range seqs {
		if err := limit.Wait(ctx); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		err := w.do(client, ctx, seq)
		if fatal := s.Count(err); fatal != nil {
			return fatal
		}
		if !errors.Is(err, operator.ErrNotRetriable) {
			err = nil
		}
		done(err)
	}
	return nil
}
