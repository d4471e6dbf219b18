package registry

import (
	"context"
	"fmt"
	"time"

	"poked/events"
	"poked/registry/store"
)

// rejected removes the pusher that a gateway rejected. After an error the rejection is
// delivered again.
func (r *Registry) rejected(ctx context.Context, rejection events.Rejection) error {
	gone, err := r.store.Reject(ctx, rejection)
	if err != nil {
		return fmt.Errorf("remove rejected pusher: %w", err)
	}
	store.LogRemoved(r.log, gone)
	return nil
}

// accountChanged applies a change that a homeserver published about an account. After
// an error the change is delivered again; [events.ErrBadEvent] makes it a dead letter.
// A change may arrive after a newer one, if another registry took that, or if it failed and
// is delivered again: it does not replace the newer one.
func (r *Registry) accountChanged(ctx context.Context, change events.AccountChange) error {
	var gone []store.Removed
	var err error
	if up := r.api.upstream; up != nil && (change.Kind == events.AccountLogout || change.Kind == events.AccountDeactivated) {
		up.tokens.Forget(change.UserID, change.DeviceID)
	}
	switch change.Kind {
	case events.AccountLogout:
		gone, err = r.store.Logout(ctx, change.UserID, change.DeviceID)
	case events.AccountDeactivated:
		gone, err = r.store.Deactivate(store.InOrderOf(ctx, &change), change.UserID)
	case events.AccountPushRules:
		err = takePublished(store.InOrderOf(ctx, &change), r.store, change.UserID, change.Content)
	case events.AccountIgnoredUsers:
		err = takeIgnored(store.InOrderOf(ctx, &change), r.store, change.UserID, change.Content)
	case events.AccountDoNotDisturb:
		err = takeDoNotDisturb(store.InOrderOf(ctx, &change), r.store, change.UserID, change.Content)
	case events.AccountRefetch:
		err = r.refetch(ctx, change.UserID)
	default:
		return fmt.Errorf("%w: unknown account change", events.ErrBadEvent)
	}
	if err != nil {
		return fmt.Errorf("change account: %w", err)
	}
	store.LogRemoved(r.log, gone)
	return nil
}

// refetch has the user's account data fetched, by the registry that rechecks.
func (r *Registry) refetch(ctx context.Context, user events.UserID) error {
	if r.recheck == nil {
		return nil
	}
	r.recheck.soon.add(user, time.Now())
	return r.store.Note(ctx, store.Notice{Kind: store.NoticeRefetch, UserID: user})
}
