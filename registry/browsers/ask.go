package browsers

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"

	"poked/events"
	"poked/events/pushgateway"
	"poked/events/wait"
	"poked/events/webpush"
	"poked/registry/store"
)

// ask pushes a token until the push service takes it or refuses it, or it expires.
func (b *Browsers) ask(ctx context.Context, ask *store.Question) {
	log := b.log.With("user_id", string(ask.UserID), "app_id", ask.Pusher.AppID,
		"pusher", string(events.NewPusherID(ask.UserID, ask.Pusher.AppID, ask.Pusher.Pushkey)))
	for failures := 1; ; failures++ {
		answer := b.push(ctx, ask)
		if ctx.Err() != nil {
			return // it is due again after the restart
		}
		if answer.gone {
			b.remove(ctx, ask, answer)
			return
		}
		pause := max(rand.N(min(askFirst<<min(failures, 10), askLimit)), answer.retryAfter) //nolint:gosec // jitter
		last := !answer.again || !time.Now().Add(pause).Before(ask.Expires)
		again := time.Time{}
		if !last {
			again = time.Now().Add(pause)
		}
		err := b.store.Asked(ctx, ask, again, answer.failure)
		switch {
		case errors.Is(err, store.ErrAnswered):
			return
		case err != nil:
			log.Warn("what became of an activation token cannot be stored", "error", err)
		}
		switch {
		case answer.failure == "":
			b.asked.Add(1)
			log.Info("browser asked for an acknowledgement", "gateway", answer.gateway)
			return
		case last:
			b.failed.Add(1)
			log.Warn("browser cannot be asked for an acknowledgement, its pusher stays inactive until it is set again",
				"gateway", answer.gateway, "failure", answer.failure)
			return
		}
		log.Info("browser not asked yet, trying again", "gateway", answer.gateway, "failure", answer.failure, "retry_after", pause)
		if wait.For(ctx, pause) != nil {
			return
		}
	}
}

// remove removes the pusher of a subscription that the push service no longer has.
func (b *Browsers) remove(ctx context.Context, ask *store.Question, answer pushAnswer) {
	b.failed.Add(1)
	gone, err := b.store.Reject(ctx, events.Rejection{
		UserID: ask.UserID, AppID: ask.Pusher.AppID, Pushkey: ask.Pusher.Pushkey, PushkeyTS: ask.Pusher.PushkeyTS, Gateway: answer.gateway,
	})
	if err != nil {
		b.log.Warn("pusher of a subscription that is gone cannot be removed", "user_id", string(ask.UserID), "error", err)
		return
	}
	store.LogRemoved(b.log, gone)
}

// pushAnswer is what became of one try.
type pushAnswer struct {
	gateway    string        // origin of the push service
	failure    string        // "" if it took the token
	gone       bool          // it does not have the subscription
	again      bool          // another try may succeed
	retryAfter time.Duration // what it asked for
}

// push pushes a token once (RFC 8030, section 5).
func (b *Browsers) push(ctx context.Context, ask *store.Question) (answer pushAnswer) {
	request, err := b.request(ctx, ask)
	if err != nil {
		return pushAnswer{failure: "refused_url"} // the operator's lists may have changed since it was set
	}
	answer.gateway = request.URL.Scheme + "://" + request.URL.Host
	response, err := b.http.Do(request)
	if err != nil {
		answer.failure, answer.again = "network", true
		if errors.Is(err, pushgateway.ErrBlocked) {
			answer.failure, answer.again = "blocked_address", false
		}
		return answer
	}
	defer func() { _ = response.Body.Close() }() // it was only read
	_, _ = io.CopyN(io.Discard, response.Body, maxPushAnswer)
	return answer.of(response)
}

// of completes the answer by a response.
func (a pushAnswer) of(response *http.Response) pushAnswer {
	status := response.StatusCode
	if status/100 == 2 {
		return a
	}
	a.failure = "http_" + strconv.Itoa(status)
	switch {
	case status == http.StatusNotFound, status == http.StatusGone:
		a.gone = true
	case status == http.StatusRequestTimeout, status == http.StatusTooEarly, status == http.StatusTooManyRequests, status >= 500:
		a.again = true
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err == nil && seconds > 0 {
			a.retryAfter = time.Duration(min(seconds, int(store.ActivationTTL/time.Second))) * time.Second
		}
	}
	return a
}

// request returns the request that pushes a token.
func (b *Browsers) request(ctx context.Context, ask *store.Question) (*http.Request, error) {
	at, err := b.policy.CheckResource(ask.URL)
	if err != nil {
		return nil, err //nolint:wrapcheck // the caller knows what it means
	}
	subscription, err := webpush.ParseSubscription(ask.Pusher.Pushkey, ask.Auth)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	message, err := json.Marshal(map[string]string{"app_id": ask.Pusher.AppID, "ack_token": ask.Token})
	if err != nil {
		return nil, err
	}
	body, err := subscription.Seal(nil, message)
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	authorization, err := b.signer.Authorization(at.WebOrigin(), time.Now())
	if err != nil {
		return nil, err //nolint:wrapcheck // as above
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, at.String(), bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	request.Header = http.Header{
		"Authorization": {authorization}, "Content-Encoding": {"aes128gcm"}, "Content-Type": {"application/octet-stream"},
		"Ttl":     {strconv.Itoa(max(0, int(time.Until(ask.Expires)/time.Second)))},
		"Urgency": {"high"}, "User-Agent": {"poked"},
	}
	return request, nil
}
