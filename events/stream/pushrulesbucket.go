package stream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"time"

	"poked/events"
	"poked/events/pushrule"
)

func pushRulesBucket() userBucket[events.UserPushRules] {
	return userBucket[events.UserPushRules]{
		name: bucketPushRules, what: "push rules",
		none:  func(user events.UserID) events.UserPushRules { return events.UserPushRules{UserID: user} },
		parse: events.ParseUserPushRules,
		owner: func(set events.UserPushRules) (events.UserID, bool) { return set.UserID, !set.IsEmpty() },
		stamp: func(set *events.UserPushRules, revision uint64, _ time.Time) { set.Revision = revision },
	}
}

// PutPushRules stores a user's push rules for the dispatchers. It returns nil only when
// the bucket has stored them.
func (c *Conn) PutPushRules(ctx context.Context, set events.UserPushRules) error {
	return pushRulesBucket().put(ctx, c, set)
}

// AllPushRules yields the push rules of every user in the bucket, under the same
// terms as [Conn.AllPushers].
func (c *Conn) AllPushRules(ctx context.Context) iter.Seq2[events.UserPushRules, error] {
	return pushRulesBucket().all(ctx, c)
}

// WatchPushRules calls apply with the push rules of every user who has a value in the
// bucket, then ready once, then apply with each change, under the same terms as
// [Conn.WatchPushers]. It calls offered with the proposals whose rules are offered to everyone:
// before ready, and with each change. apply then gets an empty value with the revision.
func (c *Conn) WatchPushRules(ctx context.Context, apply func(events.UserPushRules), offered func(pushrule.Offers), ready func()) error {
	b, found := pushRulesBucket(), false
	return c.watchBucket(ctx, b.name, ">", func(e entry) {
		if e.key != offeredKey {
			value, _ := b.known(c, e)
			apply(value)
			return
		}
		found = true
		if offers, ok := c.offers(e); ok {
			offered(offers)
		}
		value := b.none("")
		b.stamp(&value, e.revision, e.stored)
		apply(value)
	}, func() {
		if !found { // perhaps the bucket was made anew
			offered(0)
		}
		ready()
	})
}

// offeredKey is the key of PUSH_RULES that belongs to no user: what is offered to all.
const offeredKey = "offered"

// offers returns what an entry of offeredKey offers. It reports names that this process does not
// know, and returns the others; ok is false if the value cannot be read at all.
func (c *Conn) offers(e entry) (offers pushrule.Offers, ok bool) {
	if e.deleted {
		return 0, true
	}
	offers, err := events.ParseOfferedRules(e.value)
	if err != nil {
		c.NoteUnreadable(bucketPushRules, e.key, e.revision, err)
	}
	return offers, err == nil || errors.Is(err, pushrule.ErrUnknownProposal)
}

// OfferedRules returns the proposals whose rules are offered to everyone, as the leader of the
// bucket knows it now.
func (c *Conn) OfferedRules(ctx context.Context) (pushrule.Offers, error) {
	record, err := c.ReadRecord(ctx, bucketPushRules, offeredKey)
	if err != nil || !record.There {
		return 0, err
	}
	offers, _ := c.offers(entry{key: offeredKey, revision: record.Revision, value: []byte(record.Value)})
	return offers, nil
}

// PutOfferedRules stores for the dispatchers which proposals' rules are offered to everyone. It
// returns nil only when the bucket says so.
func (c *Conn) PutOfferedRules(ctx context.Context, offers pushrule.Offers) error {
	var value []byte // nothing is stored if nothing is offered
	if offers != 0 {
		var err error
		if value, err = json.Marshal(events.NewOfferedRules(offers)); err != nil {
			return fmt.Errorf("encode offered rules: %w", err)
		}
	}
	if err := c.overwrite(ctx, bucketPushRules, offeredKey, value); err != nil { // registries with other flags may write it, too
		return fmt.Errorf("put offered rules: %w", err)
	}
	return nil
}
