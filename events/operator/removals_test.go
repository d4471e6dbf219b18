package operator_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/natstest"
	"poked/events/operator"
)

// A long list of removals arrives in pages, whole, in order and once; an error of the
// database is the operator's, and so is that no registry runs.
func TestOperatorListsRemovals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		client := operator.NewClient(server.Dial())
		if _, err := client.Removals(t.Context(), "", 1); !errors.Is(err, operator.ErrNoRegistry) {
			t.Errorf("without a registry: %v", err)
		}
		const stored = 2*operator.MaxRemovals + 7
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			operator.ServeRemovals(ctx, conn, func(_ context.Context, user events.UserID, before int64, limit int) (list []events.Removal, err error) {
				if user == "@broken:x" {
					return nil, errors.New("the disk is gone")
				}
				for id := int64(stored); id > 0 && len(list) < limit; id-- {
					if before == 0 || id < before {
						list = append(list, events.Removal{ID: id, UserID: user, Reason: strings.Repeat("r", 1000)})
					}
				}
				return list, nil
			}, func(error) {})
		}()
		<-time.After(time.Second)
		for limit, want := range map[int]int{1: 1, operator.MaxRemovals + 1: operator.MaxRemovals + 1, 10 * stored: stored} {
			list, err := client.Removals(t.Context(), "@alice:x", limit)
			if err != nil || len(list) != want {
				t.Errorf("at most %d: %d, %v", limit, len(list), err)
			}
			for i, removal := range list {
				if removal.ID != int64(stored-i) || removal.UserID != "@alice:x" {
					t.Fatalf("%d: %+v", i, removal)
				}
			}
		}
		if _, err := client.Removals(t.Context(), "@broken:x", 1); err == nil || !strings.Contains(err.Error(), "the disk is gone") {
			t.Errorf("the database fails: %v", err)
		}
		stop()
		<-ended
	})
}
