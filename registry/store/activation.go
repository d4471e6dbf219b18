package store

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"poked/events"
	"poked/registry/database"
	"poked/registry/problem"
)

// A browser gets nothing until its client has sent back a token that was pushed to it (MSC4174),
// so nobody can make poked push to somebody else's browser or to a service that is none. The
// database has a digest of the token, never the token.

const (
	// ActivationTTL is how long a token is valid.
	ActivationTTL = 5 * time.Minute
	// askLease is how long the registry that made a token has to push it, or to say that it
	// goes on trying. After that another one, or the same after a restart, makes a new token.
	askLease = time.Minute
)

// activation is what the row of a browser's pusher has of its acknowledgement. It is the zero
// value for other pushers.
type activation struct {
	Inactive   bool   `db:"inactive"`
	AckDigest  string `db:"ack_digest"`  // of the newest token
	AckExpires int64  `db:"ack_expires"` // milliseconds since the Unix epoch
	AckDue     int64  `db:"ack_due"`     // the same; see askLease. 0 if there is nothing to push
	AckFailure string `db:"ack_failure"`
}

// Question is a token that is to be pushed to a browser.
type Question struct {
	UserID  events.UserID
	Pusher  events.Pusher
	URL     string // where the browser is reached, and the secret that it shares with poked
	Auth    string
	Token   string
	Expires time.Time
	digest  string
}

// ask returns the question that the token in a row is.
func (r *pusherRow) ask(token string) *Question {
	at := resourceOf(r.Data)
	return &Question{
		UserID: r.UserID, Pusher: r.pusher(), URL: at.URL, Auth: at.Auth,
		Token: token, Expires: time.UnixMilli(r.AckExpires), digest: r.AckDigest,
	}
}

// newActivation makes a token (a UUID of version 4), and what the row has of it.
func newActivation(now, expires time.Time) (token string, a activation) {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	token = fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
	return token, activation{
		Inactive: true, AckDigest: digestOf(token), AckExpires: expires.UnixMilli(), AckDue: now.Add(askLease).UnixMilli(),
	}
}

func digestOf(token string) string {
	digest := sha256.Sum256([]byte(token))
	return hex.EncodeToString(digest[:])
}

// askBrowser makes a browser's row inactive, with a token to push, unless the same browser is
// active already. Of other pushers it returns "". The caller has locked the user.
func askBrowser(ctx context.Context, tx *database.Tx, row *pusherRow, now time.Time) (token string, err error) {
	p := events.Pusher{Kind: row.Kind}
	if !p.IsWebPush() {
		return "", nil
	}
	have, found, err := findPusher(ctx, tx, row.UserID, row.AppID, row.Pushkey)
	if err != nil {
		return "", err
	}
	p.Kind = have.Kind
	if found && p.IsWebPush() && !have.Inactive && resourceOf(have.Data) == resourceOf(row.Data) {
		row.activation = have.activation // the token may be acknowledged a second time
		return "", nil
	}
	token, row.activation = newActivation(now, now.Add(ActivationTTL))
	return token, nil
}

// resource is where a browser is reached.
type resource struct {
	URL  string `json:"url"`
	Auth string `json:"auth"`
}

func resourceOf(data string) (r resource) {
	_ = json.Unmarshal([]byte(data), &r) // it was checked when it was set
	return r
}

// Acknowledge activates the user's pusher of an app that has this token. It fails with
// [problem.NotFound] if the user has no browser with this app, [problem.UnknownActivation] if
// none of them has the token, and [problem.ExpiredActivation] if that is too old. A repetition
// changes nothing and succeeds.
func (s *Store) Acknowledge(ctx context.Context, user events.UserID, appID, token string) error {
	return s.update(ctx, of(user), func(tx *database.Tx) error {
		var rows []pusherRow
		err := tx.SelectContext(ctx, &rows, "SELECT "+pusherColumns+" FROM pushers WHERE user_id = ? AND app_id = ? AND kind IN (?, ?)",
			user, appID, events.KindWebPush, events.KindWebPushUnstable)
		if err != nil {
			return fmt.Errorf("look for browsers: %w", err)
		}
		if len(rows) == 0 {
			return problem.New(problem.NotFound, "there is no web push pusher with this app_id")
		}
		digest := digestOf(token)
		for i := range rows {
			switch row := &rows[i]; {
			case row.AckDigest != digest:
			case !row.Inactive:
				return nil
			case row.AckExpires <= time.Now().UnixMilli():
				return problem.New(problem.ExpiredActivation, "the token has expired: set the pusher again")
			default:
				return activate(ctx, tx, row)
			}
		}
		return problem.New(problem.UnknownActivation, "no pusher with this app_id has this token")
	})
}

func activate(ctx context.Context, tx *database.Tx, row *pusherRow) error {
	if err := touch(ctx, tx, row.UserID); err != nil {
		return err
	}
	_, err := tx.ExecContext(ctx, "UPDATE pushers SET inactive = ?, ack_due = 0, ack_failure = '' WHERE user_id = ? AND app_id = ? AND pushkey = ?",
		false, row.UserID, row.AppID, row.Pushkey)
	if err != nil {
		return fmt.Errorf("activate pusher: %w", err)
	}
	return nil
}

// ErrAnswered reports that a token need not be pushed any more: it was acknowledged, or its
// pusher was removed or set again.
var ErrAnswered = errors.New("the token is no longer to be pushed")

// Asked records that the token was pushed, or why it could not be. again is when the next attempt
// begins, until which this process has the token, or the zero time if there is none. It fails
// with [ErrAnswered].
func (s *Store) Asked(ctx context.Context, ask *Question, again time.Time, failure string) error {
	until := int64(0)
	if !again.IsZero() {
		until = again.Add(askLease).UnixMilli()
	}
	return s.commit(ctx, func(tx *database.Tx) error {
		result, err := tx.ExecContext(ctx, `UPDATE pushers SET ack_due = ?, ack_failure = ?
			WHERE user_id = ? AND app_id = ? AND pushkey = ? AND ack_digest = ? AND ack_due > 0`,
			until, failure, ask.UserID, ask.Pusher.AppID, ask.Pusher.Pushkey, ask.digest)
		return changedOne(result, err)
	})
}

func changedOne(result database.Result, err error) error {
	if err != nil {
		return fmt.Errorf("record activation: %w", err)
	}
	if n, err := result.RowsAffected(); err != nil || n == 0 {
		return errors.Join(ErrAnswered, err)
	}
	return nil
}

// AskFailures returns why the user's inactive browsers could not be pushed a token, of those that
// could not.
func (s *Store) AskFailures(ctx context.Context, user events.UserID) (map[events.PusherID]string, error) {
	var rows []pusherRow
	err := s.db.Select(ctx, &rows, "SELECT "+pusherColumns+" FROM pushers WHERE user_id = ? AND ack_failure <> ''", user)
	if err != nil {
		return nil, fmt.Errorf("read activations: %w", err)
	}
	failures := map[events.PusherID]string{}
	for i := range rows {
		failures[events.NewPusherID(user, rows[i].AppID, rows[i].Pushkey)] = rows[i].AckFailure
	}
	return failures, nil
}

// LeftToAsk returns up to limit browsers whose token the process that made it has not pushed,
// since it ended. Each has a new token now, which is this process's to push, and expires when
// the first would have.
func (s *Store) LeftToAsk(ctx context.Context, now time.Time, limit int) (list []*Question, err error) {
	var rows []pusherRow
	err = s.db.Select(ctx, &rows, "SELECT "+pusherColumns+" FROM pushers WHERE ack_due > 0 AND ack_due <= ? ORDER BY ack_due LIMIT ?",
		now.UnixMilli(), limit)
	if err != nil {
		return nil, fmt.Errorf("look for browsers to ask: %w", err)
	}
	for i := range rows {
		row, token := rows[i], ""
		token, row.activation = newActivation(now, time.UnixMilli(row.AckExpires))
		err := s.commit(ctx, func(tx *database.Tx) error {
			result, err := tx.ExecContext(ctx, `UPDATE pushers SET ack_digest = ?, ack_due = ?
				WHERE user_id = ? AND app_id = ? AND pushkey = ? AND ack_digest = ? AND ack_due = ?`,
				row.AckDigest, row.AckDue, row.UserID, row.AppID, row.Pushkey, rows[i].AckDigest, rows[i].AckDue)
			return changedOne(result, err)
		})
		switch {
		case errors.Is(err, ErrAnswered): // another registry was faster
		case err != nil:
			return list, err
		default:
			list = append(list, row.ask(token))
		}
	}
	return list, nil
}
