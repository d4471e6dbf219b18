package operator

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/micro"

	"poked/events"
	"poked/events/stream"
)

// A registry answers operators about removed pushers, of which only its database knows. All
// registries have the same database, so any of them answers.
const (
	registryService = "poked-registry"
	removedSubject  = "poked.registry.removed"
	endpointRemoved = "removed"
)

// MaxRemovals is how many removals one request returns at most: they fit in a message.
const MaxRemovals = 500

// ErrNoRegistry means that no running registry can be reached.
var ErrNoRegistry = errors.New("no registry answers: is one running and connected to this NATS?")

// removedRequest asks for the newest removals, before one of them if that is not 0.
type removedRequest struct {
	UserID events.UserID `json:"user_id,omitempty"`
	Limit  int           `json:"limit"`
	Before int64         `json:"before,omitempty"`
}

// RemovalsFunc returns up to limit removals, newest first, of one user or, for an empty
// user, of all, that are older than the one with the id before, if that is not 0.
type RemovalsFunc func(ctx context.Context, user events.UserID, before int64, limit int) ([]events.Removal, error)

// ServeRemovals answers operators with list until ctx ends, as [ServeDispatcher] does.
func ServeRemovals(ctx context.Context, conn *stream.Conn, list RemovalsFunc, state func(error)) {
	s := service{
		config: micro.Config{Name: registryService, Version: "1.0.0", Description: "What a registry knows of removed pushers."},
		endpoints: []endpoint{{endpointRemoved, removedSubject, func(ctx context.Context, req micro.Request) {
			answerRemovals(ctx, req, list)
		}}},
	}
	s.serve(ctx, conn, state)
}

func answerRemovals(ctx context.Context, req micro.Request, list RemovalsFunc) {
	var request removedRequest
	if err := json.Unmarshal(req.Data(), &request); err != nil {
		_ = req.Error("400", "decode request: "+err.Error(), nil)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, requestPatience)
	defer cancel()
	removals, err := list(ctx, request.UserID, request.Before, min(max(request.Limit, 1), MaxRemovals))
	if err != nil {
		_ = req.Error("500", err.Error(), nil)
		return
	}
	_ = req.RespondJSON(removals)
}

// Removals returns up to limit removals, newest first, of one user or, for an empty user, of
// all, as a running registry knows them. The error wraps [ErrNoRegistry] if there is none.
func (c *Client) Removals(ctx context.Context, user events.UserID, limit int) (all []events.Removal, err error) {
	for before := int64(0); len(all) < limit; {
		var page []events.Removal
		err := c.ask(ctx, "registry", removedSubject, removedRequest{UserID: user, Limit: min(limit-len(all), MaxRemovals), Before: before}, &page)
		if errors.Is(err, nats.ErrNoResponders) {
			err = ErrNoRegistry
		}
		if err != nil || len(page) == 0 {
			return all, err
		}
		all, before = append(all, page...), page[len(page)-1].ID
	}
	return all, nil
}
