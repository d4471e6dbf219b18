package demo

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"poked/events"
	"poked/events/publish"
	"poked/events/stream"
)

const (
	// setupTimeout bounds the time until the pushers are in NATS.
	setupTimeout = 30 * time.Second
	setupPoll    = 20 * time.Millisecond
	// quietTime is how long nothing may arrive after the last expected poke: longer
	// than the delay of a badge-only push.
	quietTime = 1500 * time.Millisecond
)

// errStopped reports that the demo was interrupted.
var errStopped = errors.New("stopped before every poke was there")

// player is one run of the demo: it sets pushers as clients do, publishes events as a
// homeserver does, and checks the pokes that its gateway receives.
type player struct {
	rec      *recording
	check    *checker
	screen   *screen
	limit    *rate.Limiter
	patience time.Duration
	tokens   map[events.UserID]string

	// publishAll publishes every event.
	publishAll func(context.Context, *stream.Conn) error

	// Set while the actors start, before anything is played.
	gateway      *collector
	registryAddr string

	registered chan struct{} // closed when all pushers are in NATS

	began, ended time.Time
	latencies    []time.Duration // from publishing to poke

	mu        sync.Mutex
	published map[events.EventID]time.Time
}

func newPlayer(rec *recording, screen *screen, limit *rate.Limiter, patience time.Duration) *player {
	s := &player{
		rec: rec, check: newChecker(rec), screen: screen, limit: limit, patience: patience,
		tokens: map[events.UserID]string{}, registered: make(chan struct{}),
		published: map[events.EventID]time.Time{},
	}
	for _, p := range rec.pushers {
		s.tokens[p.user] = rand.Text()
	}
	s.publishAll = s.publish
	return s
}

// writeTokens writes the registry's token file.
func (s *player) writeTokens(path string) error {
	var file bytes.Buffer
	for user, token := range s.tokens {
		fmt.Fprintf(&file, "%s %s\n", token, user)
	}
	if err := os.WriteFile(path, file.Bytes(), 0o600); err != nil {
		return fmt.Errorf("write tokens: %w", err)
	}
	return nil
}

// play plays the recording to its end. verdict then reports the result.
func (s *player) play(ctx context.Context, conn *stream.Conn) error {
	err := s.playAll(ctx, conn)
	s.screen.progress.Finish()
	if ctx.Err() != nil {
		return errStopped
	}
	return err
}

func (s *player) playAll(ctx context.Context, conn *stream.Conn) error {
	if err := s.setPushers(ctx, conn); err != nil {
		return err
	}
	close(s.registered)
	s.screen.printf("%d pushers of %d users are set over HTTP at http://%s", len(s.rec.pushers), len(s.tokens), s.registryAddr)
	s.screen.printf("%d events and %d receipts are published to NATS, pokes arrive at http://%s", len(s.rec.events), s.rec.receipts(), s.gateway.Addr())
	if !s.screen.all {
		s.screen.printf("the first poke of each kind:")
	}
	s.began = time.Now()
	group, ctx := errgroup.WithContext(ctx)
	all := make(chan struct{})
	group.Go(func() error {
		defer close(all)
		return s.publishAll(ctx, conn)
	})
	group.Go(func() error { return s.watch(ctx, all) })
	return group.Wait()
}

// setPushers sets every pusher as its user's client would, and returns when all of them
// are in NATS.
func (s *player) setPushers(ctx context.Context, conn *stream.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, setupTimeout, fmt.Errorf("the pushers are not in NATS after %s", setupTimeout))
	defer cancel()
	transport := &http.Transport{} // of its own: no proxy from the environment
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	for i := range s.rec.pushers {
		if err := s.setPusher(ctx, client, &s.rec.pushers[i]); err != nil {
			return fmt.Errorf("set pusher of %s: %w", s.rec.pushers[i].user, err)
		}
	}
	return s.awaitPushers(ctx, conn)
}

// awaitPushers returns when NATS has as many pushers as the recording.
func (s *player) awaitPushers(ctx context.Context, conn *stream.Conn) error {
	tick := time.NewTicker(setupPoll)
	defer tick.Stop()
	for {
		stored := 0
		for set, err := range conn.AllPushers(ctx) {
			if err != nil {
				return err
			}
			stored += len(set.Pushers)
		}
		if stored == len(s.rec.pushers) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// setPusher sets a pusher with its recorded fields, but with the gateway of the demo.
func (s *player) setPusher(ctx context.Context, client *http.Client, p *recordedPusher) error {
	body, err := json.Marshal(p.request(s.gateway.URL()))
	if err != nil {
		return fmt.Errorf("encode request: %w", err)
	}
	url := "http://" + s.registryAddr + "/_matrix/client/v3/pushers/set"
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	request.Header.Set("Authorization", "Bearer "+s.tokens[p.user])
	request.Header.Set("Content-Type", "application/json")
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask registry: %w", err)
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return fmt.Errorf("read answer: %w", err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("the registry answers %s: %s", response.Status, answer)
	}
	return nil
}

// request returns the body of pushers/set, with this gateway.
func (p *recordedPusher) request(gateway string) map[string]any {
	body, data := maps.Clone(p.fields), maps.Clone(p.data)
	delete(body, "user_id") // the token identifies the user
	data["url"] = gateway
	body["data"], body["append"] = data, true
	return body
}

// publish publishes every event in order, and after each event its receipts.
func (s *player) publish(ctx context.Context, conn *stream.Conn) error {
	publisher := publish.NewPublisher(conn)
	for _, ev := range s.rec.events {
		if err := s.limit.Wait(ctx); err != nil {
			return fmt.Errorf("wait to publish: %w", err)
		}
		s.mu.Lock()
		s.published[ev.id] = time.Now()
		s.mu.Unlock()
		if err := publisher.Event(ctx, ev.raw); err != nil {
			return fmt.Errorf("publish event %s: %w", ev.id, err)
		}
		for _, receipt := range ev.receipts {
			if err := publisher.Receipt(ctx, receipt); err != nil {
				return fmt.Errorf("publish receipt after event %s: %w", ev.id, err)
			}
		}
	}
	return nil
}

// watch checks pokes until all expected ones have arrived, or none has arrived for as long
// as patience.
func (s *player) watch(ctx context.Context, allPublished <-chan struct{}) error {
	quiet := time.NewTimer(s.patience)
	defer quiet.Stop()
	for {
		select {
		case a := <-s.gateway.arrivals:
			if err := s.take(&a); err != nil {
				return err
			}
		case <-allPublished:
			allPublished = nil
		case <-quiet.C:
			if allPublished == nil {
				return nil
			}
		case <-ctx.Done():
			return context.Cause(ctx)
		}
		if s.check.complete() {
			quiet.Reset(quietTime)
		} else {
			quiet.Reset(s.patience)
		}
	}
}

// take checks and shows one poke.
func (s *player) take(a *arrival) error {
	s.ended = a.At
	s.mu.Lock()
	at, ok := s.published[a.Notification.EventID]
	s.mu.Unlock()
	if ok {
		s.latencies = append(s.latencies, a.At.Sub(at))
	}
	pusher := s.check.take(a)
	return s.screen.show(a, pusher, a.At.Sub(s.began))
}

// verdict prints the result, and fails unless every poke was as expected.
func (s *player) verdict() error {
	s.check.finish()
	for _, problem := range s.check.problems {
		s.screen.printf("%s", problem)
	}
	slices.Sort(s.latencies)
	if n := len(s.latencies); n > 0 {
		s.screen.printf("%d pokes of events and %d badge-only pokes arrived in %.1f s",
			s.check.tally.Arrived, s.check.tally.Badges, s.ended.Sub(s.began).Seconds())
		s.screen.printf("from publishing to poke: half within %s, 99 %% within %s",
			s.latencies[n/2].Round(10*time.Microsecond), s.latencies[n*99/100].Round(10*time.Microsecond))
	}
	if s.check.flawless() {
		s.screen.printf("every expected poke arrived once, in order and with the right content:\n%d of %d, %d were read first; the last badge of each pusher is right",
			s.check.tally.Arrived, s.check.tally.Expected, s.check.tally.Read)
		return nil
	}
	return errors.New(s.check.tally.String())
}
