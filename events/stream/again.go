package stream

import (
	"context"
	"sync"
	"time"
)

// askAgain is how long a request may be without an answer before it is sent once more.
const askAgain = time.Second

// again asks NATS something that may be asked several times, and again each second until one of
// the requests is answered, for at most [RequestTimeout]. A cluster that has just lost a leader
// answers nothing, and has another one a moment later: without this, each question that was asked
// meanwhile costs five seconds of a recovery. A server that is slow may still answer the first.
func again[T any](ctx context.Context, ask func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, int(RequestTimeout/askAgain)+1)
	var asking sync.WaitGroup
	defer asking.Wait()
	ctx, cancel := context.WithTimeout(ctx, RequestTimeout)
	defer cancel()
	tick := time.NewTicker(askAgain)
	defer tick.Stop()
	for n := 1; ; n++ {
		if n < cap(answers) {
			asking.Go(func() {
				value, err := ask(ctx)
				answers <- answer{value, err}
			})
		}
		select {
		case a := <-answers:
			return a.value, a.err
		case <-tick.C:
		}
	}
}
