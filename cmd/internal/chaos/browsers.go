package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"poked/events/wait"
	"poked/events/webpush/webpushtest"
)

// pushPath is before the pushkey in the path of a browser's push resource.
const pushPath = "/push/"

// browsers are the pushers that are browsers, with the newest token that was pushed to each.
type browsers struct {
	all map[string]*webpushtest.Browser // by pushkey; never changes

	mu     sync.Mutex
	tokens map[string]string // by pushkey
}

func newBrowsers(people *population) *browsers {
	b := &browsers{all: map[string]*webpushtest.Browser{}, tokens: map[string]string{}}
	for _, u := range people.users {
		for n, browser := range u.browsers {
			if browser != nil {
				b.all[u.pushkeys[n]] = browser
			}
		}
	}
	return b
}

// open decrypts what was pushed to a browser, and returns it as the body of an http poke. A token
// is kept instead, and the body is nil.
func (b *browsers) open(pushkey string, sealed []byte) (body []byte, err error) {
	browser := b.all[pushkey]
	if browser == nil {
		return nil, errors.New("read push: there is no such browser")
	}
	message, err := browser.Open(sealed)
	if err != nil {
		return nil, err
	}
	var asked struct {
		Token string `json:"ack_token"`
	}
	if err := json.Unmarshal(message, &asked); err != nil {
		return nil, fmt.Errorf("read push: %w", err)
	}
	if asked.Token == "" {
		return []byte(`{"notification":` + string(message) + `}`), nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.tokens[pushkey] = asked.Token
	return nil, nil
}

// token returns the newest token that was pushed to a browser, "" if none was.
func (b *browsers) token(pushkey string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.tokens[pushkey]
}

// ackPatience is how long a browser waits for its token before it is set again.
const ackPatience = 10 * time.Second

// setBrowser sets a browser and acknowledges it, again and again until it is active.
func (w *world) setBrowser(ctx context.Context, u *person, key, body string) error {
	return w.until(ctx, "the registry activates no browser", func() bool {
		switch w.post(ctx, u, pathSet, body) {
		case http.StatusOK:
			return true // the answer to an acknowledgement was lost
		case http.StatusCreated:
		default:
			return false
		}
		for end := time.Now().Add(ackPatience); time.Now().Before(end); {
			ack := fmt.Sprintf(`{"app_id":%q,"ack_token":%q}`, appID, w.browsers.token(key))
			if w.post(ctx, u, pathAck, ack) == http.StatusOK {
				return true
			}
			if wait.For(ctx, 100*time.Millisecond) != nil {
				return false
			}
		}
		return false
	})
}
