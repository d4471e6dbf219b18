package bench

import (
	"context"
	"errors"
	"fmt"

	"poked/cmd/internal/child"
	"poked/cmd/internal/terminal"
)

// busyCmd is a process beside a benchmark that keeps a core busy until its standard input
// ends.
type busyCmd struct{}

// Run spins until ctx or standard input ends.
func (busyCmd) Run(ctx context.Context, std terminal.Streams) error {
	ctx, stop := child.WithParent(ctx, std.In)
	defer stop()
	if _, err := fmt.Fprintln(std.Out, "busy"); err != nil {
		return fmt.Errorf("report that it is busy: %w", err)
	}
	for x := uint64(1); ctx.Err() == nil; {
		for range 1 << 18 {
			x = x*6364136223846793005 + 1442695040888963407
		}
		if x == 0 { // never, but the compiler must not know
			return errors.New("the generator has a zero")
		}
	}
	return nil
}

// whileBusy calls do while n other processes keep the machine busy, and ends them.
func whileBusy(ctx context.Context, n int, do func() error) error {
	var all []*process
	defer func() {
		for _, busy := range all {
			busy.stop()
		}
	}()
	for range n {
		busy, err := startProcess(ctx, "bench-busy")
		if err != nil {
			return err
		}
		all = append(all, busy)
	}
	return do()
}
