package bench

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"poked/events/pushgateway"
)

// bareLoop posts with plain net/http what a dispatcher would post. It is the ceiling that
// poked is compared with.
type bareLoop struct {
	urls        []string // of gateways, used in turn
	concurrency int
	client      *http.Client
	posted      atomic.Int64
}

func newBareLoop(gateways []string, concurrency int) *bareLoop {
	return &bareLoop{
		urls: gateways, concurrency: concurrency,
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: concurrency}, Timeout: 75 * time.Second},
	}
}

func (b *bareLoop) close() { b.client.CloseIdleConnections() }

// post posts n pokes with the loop's concurrency.
func (b *bareLoop) post(ctx context.Context, n int) error {
	group, ctx := errgroup.WithContext(ctx)
	var taken atomic.Int64
	for range b.concurrency {
		group.Go(func() error {
			for taken.Add(1) <= int64(n) {
				if err := b.postOne(ctx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (b *bareLoop) postOne(ctx context.Context) error {
	number := b.posted.Add(1)
	n := pushgateway.Notification{
		EventID: "$bare-" + strconv.FormatInt(number, 10), RoomID: "!room0:bench.example", Type: "m.room.message",
		Sender: "@sender:bench.example", SenderDisplayName: "Sender", RoomName: "Benchmark", Content: content(),
	}
	body := pushgateway.AppendBody(nil, n.AppendJSON(nil), 1, &pushgateway.Device{
		AppID: "org.example.bench", Pushkey: "key-@user-0-0:bench.example", PushkeyTS: 1,
		Data: []byte(`{}`), Tweaks: []byte(`{"sound":"default"}`),
	})
	url := b.urls[number%int64(len(b.urls))] + pushgateway.NotifyPath
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.client.Do(req)
	if err != nil {
		return fmt.Errorf("post: %w", err)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return errors.Join(err, resp.Body.Close())
}
