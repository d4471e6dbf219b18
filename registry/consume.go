package registry

import (
	"context"
	"fmt"

	"poked/events"
)

// rejected does what a gateway's rejection asks for. An error brings the
// rejection back.
func (r *Registry) rejected(ctx context.Context, rejection events.Rejection) error {
	gone, err := r.store.Reject(ctx, rejection)
	if err != nil {
		return fmt.Errorf("remove rejected pusher: %w", err)
	}
	logRemoved(r.log, gone)
	return nil
}

// accountChanged does what a logout or deactivation asks for. An error brings
// the change back.
func (r *Registry) accountChanged(ctx context.Context, change events.AccountChange) error {
	var gone []removed
	var err error
	switch change.Kind {
	case "logout":
		gone, err = r.store.Logout(ctx, change.UserID, change.DeviceID)
	case "deactivated":
		gone, err = r.store.Deactivate(ctx, change.UserID)
	default:
		return fmt.Errorf("%w: unknown account change", events.ErrBadEvent)
	}
	if err != nil {
		return fmt.Errorf("remove pushers of account: %w", err)
	}
	logRemoved(r.log, gone)
	return nil
}
