package operator_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"poked/events"
	"poked/events/eventstest"
	"poked/events/natstest"
	"poked/events/operator"
	"poked/events/stream"
)

// fewGateways is the maximum number of gateways that a knower returns.
const fewGateways = 5000

// knower returns a handler with n pushers and up to fewGateways gateways.
func knower(name string, n int, retried chan<- events.PusherFilter) events.OperatorHandler {
	state := func(i int) events.PusherState {
		return events.PusherState{UserID: events.UserID(fmt.Sprintf("@%s%06d:x", name, i)), State: "lagging", LastError: strings.Repeat("e", 200)}
	}
	return events.OperatorHandler{
		Pushers: func(_ context.Context, filter events.PusherFilter, after events.PusherCursor) iter.Seq2[events.PusherState, events.PusherCursor] {
			return func(yield func(events.PusherState, events.PusherCursor) bool) {
				for i := after.Part; i < n; i++ { // its partitions have one pusher each
					s := state(i)
					if filter.Admits(&s) && !yield(s, events.PusherCursor{Part: i + 1, UserID: s.UserID}) {
						return
					}
				}
			}
		},
		Gateways: func() []events.GatewayState {
			var states []events.GatewayState
			for i := range min(n, fewGateways) {
				states = append(states, events.GatewayState{Origin: fmt.Sprintf("https://%s%06d:443", name, n-i), LastError: strings.Repeat("e", 200)})
			}
			return states
		},
		Retry: func(_ context.Context, filter events.PusherFilter) events.RetriedPushers {
			retried <- filter
			return events.RetriedPushers{Pushers: n, Retried: n}
		},
	}
}

func serve(t *testing.T, conn *stream.Conn, name string, handler events.OperatorHandler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		operator.ServeDispatcher(ctx, conn, name, handler, func(error) {})
		ended <- nil
	}()
	return func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
}

// Operators receive everything that the dispatchers know, once, in messages within
// NATS's size limit.
func TestOperatorReceivesAll(t *testing.T) {
	eventstest.Long(t)
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		retried := make(chan events.PusherFilter, 2)
		const many, few = 20_000, 3 // a page has less than 2000
		defer serve(t, conn, "A", knower("a", many, retried))()
		defer serve(t, conn, "B", knower("b", few, retried))()
		<-time.After(time.Second)
		client := operator.NewClient(server.Dial())
		pushers := map[events.UserID]int{}
		for state, err := range client.Pushers(t.Context(), events.PusherFilter{}) {
			if err != nil {
				t.Fatal(err)
			}
			pushers[state.UserID]++
		}
		gateways := map[string]int{}
		for state, err := range client.Gateways(t.Context()) {
			if err != nil {
				t.Fatal(err)
			}
			gateways[state.Origin]++
		}
		if len(pushers) != many+few || len(gateways) != fewGateways+few {
			t.Errorf("received %d pushers and %d gateways", len(pushers), len(gateways))
		}
		for user, n := range pushers {
			if n != 1 {
				t.Errorf("received %d times: %s", n, user)
			}
		}
		n, err := client.RetryPushers(t.Context(), events.PusherFilter{UserID: "@a000007:x"})
		if err != nil || n.Retried != many+few {
			t.Errorf("%+v are retried, %v", n, err)
		}
		if filter := <-retried; filter.UserID != "@a000007:x" {
			t.Errorf("the dispatcher received %+v", filter)
		}
		received := 0
		for state, err := range client.Pushers(t.Context(), events.PusherFilter{UserID: "@b000001:x"}) {
			if received++; err != nil || state.UserID != "@b000001:x" {
				t.Errorf("received %+v, %v", state, err)
			}
		}
		if received != 1 {
			t.Errorf("received %d pushers of one user", received)
		}
	})
}

// A dispatcher that has ended does not answer.
func TestOperatorWithoutDispatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		client := operator.NewClient(server.Dial())
		nobody := func(when string) {
			began := time.Now()
			_, err := client.RetryPushers(t.Context(), events.PusherFilter{})
			if !errors.Is(err, operator.ErrNoDispatcher) || time.Since(began) < 2*time.Second {
				t.Errorf("%s: %v after %v", when, err, time.Since(began))
			}
			for _, err := range client.Gateways(t.Context()) {
				if !errors.Is(err, operator.ErrNoDispatcher) {
					t.Errorf("%s: %v", when, err)
				}
			}
		}
		nobody("before it began")
		retried := make(chan events.PusherFilter, 1)
		stop := serve(t, conn, "A", knower("a", 1, retried))
		if _, err := client.RetryPushers(t.Context(), events.PusherFilter{}); err != nil {
			t.Errorf("while it begins: %v", err)
		}
		stop()
		nobody("after it ended")
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := client.RetryPushers(ctx, events.PusherFilter{}); !errors.Is(err, context.Canceled) {
			t.Errorf("a cancelled request returned %v", err)
		}
	})
}

// After an outage of NATS dispatchers answer again.
func TestOperatorIsAnsweredAfterNATSWasAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		retried := make(chan events.PusherFilter, 1)
		defer serve(t, conn, "A", knower("a", 1, retried))()
		<-time.After(time.Second)
		server.Stop()
		server.Start()
		<-time.After(5 * time.Second)
		if n, err := operator.NewClient(server.Dial()).RetryPushers(t.Context(), events.PusherFilter{}); n.Retried != 1 || err != nil {
			t.Errorf("%d, %v", n, err)
		}
	})
}

// Operators learn of every process and every dispatcher what it reports about itself, and get
// the answers of the others while one is away.
func TestOperatorAsksProcessesAndDispatchers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := natstest.StartServer(t)
		conn := server.Connect(natstest.Topology())
		client := operator.NewClient(server.Dial())
		if all, err := client.Processes(t.Context()); len(all) != 0 || err != nil {
			t.Errorf("without a process: %v, %v", all, err)
		}
		if _, err := client.Dispatchers(t.Context()); !errors.Is(err, operator.ErrNoDispatcher) {
			t.Errorf("without a dispatcher: %v", err)
		}
		handler := func(name string) events.OperatorHandler {
			h := knower(name, 1, nil)
			h.State = func() events.DispatcherState { return events.DispatcherState{Worker: name, Delivered: 7} }
			return h
		}
		defer serve(t, conn, "A", handler("A"))()
		defer serve(t, conn, "B", handler("B"))()
		processes, stop := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		for _, id := range []string{"p1", "p2", "p3"} {
			serving.Go(func() {
				operator.ServeProcess(processes, conn, func() events.ProcessState { return events.ProcessState{ID: id} }, func(error) {})
			})
		}
		<-time.After(time.Second)
		states, err := client.Dispatchers(t.Context())
		if err != nil || len(states) != 2 || states[0].Worker != "A" || states[1].Delivered != 7 {
			t.Errorf("dispatchers: %+v, %v", states, err)
		}
		all, err := client.Processes(t.Context())
		ids := map[string]bool{}
		for _, p := range all {
			ids[p.ID] = true
		}
		if err != nil || len(all) != 3 || len(ids) != 3 {
			t.Errorf("processes: %+v, %v", all, err)
		}
		stop()
		serving.Wait()
		if all, err := client.Processes(t.Context()); len(all) != 0 || err != nil {
			t.Errorf("after they ended: %v, %v", all, err)
		}
	})
}
