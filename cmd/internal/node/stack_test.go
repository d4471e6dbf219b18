package node

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
)

var errBroken = errors.New("broken")

func untilDone(ctx context.Context) error { <-ctx.Done(); return nil }

func TestActorThatFailsEndsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		stopped := false
		err := runAll(t.Context(), slog.New(slog.DiscardHandler), []Actor{
			{Name: "good", Run: func(ctx context.Context) error { <-ctx.Done(); stopped = true; return nil }},
			{Name: "bad", Run: func(context.Context) error { return errBroken }},
		})
		if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), "bad") || !stopped {
			t.Errorf("ended with %v, other actor stopped: %t", err, stopped)
		}
	})
}

func TestActorMustNotEndByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		err := runAll(t.Context(), slog.New(slog.DiscardHandler), []Actor{{Name: "lazy", Run: func(context.Context) error { return nil }}})
		if err == nil || !strings.Contains(err.Error(), "lazy") {
			t.Errorf("ended with %v", err)
		}
	})
}

func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		release := make(chan struct{})
		cancel()
		stuck := Actor{Name: "stuck", Run: func(context.Context) error { <-release; return nil }}
		err := runAll(ctx, slog.New(slog.DiscardHandler), []Actor{stuck})
		if err == nil || !strings.Contains(err.Error(), stopBound.String()) || errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
		err = runAll(t.Context(), slog.New(slog.DiscardHandler), []Actor{stuck, {Name: "bad", Run: func(context.Context) error { return errBroken }}})
		if !errors.Is(err, errBroken) || !strings.Contains(err.Error(), stopBound.String()) {
			t.Errorf("after a failure it ended with %v", err)
		}
		close(release)
	})
}

func TestStopIsClean(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := runAll(ctx, slog.New(slog.DiscardHandler), []Actor{{Name: "a", Run: untilDone}, {Name: "b", Run: untilDone}}); err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}
