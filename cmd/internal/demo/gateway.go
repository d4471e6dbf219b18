package demo

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"poked/events"
	"poked/events/pushgateway"
)

const (
	host = "127.0.0.1"

	// maxPokeBytes is more than any poke of the recording has.
	maxPokeBytes = 1 << 20
	// stopTimeout bounds the wait for requests when the gateway stops.
	stopTimeout = 5 * time.Second
)

// gateway is a push gateway that takes everything and hands it on.
type gateway struct {
	listener net.Listener
	arrivals chan arrival
}

// arrival is a poke as it came.
type arrival struct {
	at   time.Time
	body []byte
	tree map[string]any // of body, with numbers as written; nil if it is no JSON object
	poke notifyBody
}

// notifyBody is what of a poke is shown, or tells which one it is.
type notifyBody struct {
	Notification struct {
		EventID           events.EventID `json:"event_id"`
		RoomID            events.RoomID  `json:"room_id"`
		Type              string         `json:"type"`
		Sender            string         `json:"sender"`
		SenderDisplayName string         `json:"sender_display_name"`
		RoomName          string         `json:"room_name"`
		Prio              string         `json:"prio"`
		Content           struct {
			Body any `json:"body"`
		} `json:"content"`
		Counts struct {
			Unread *int `json:"unread"` // nil if the poke says nothing of it
		} `json:"counts"`
		Devices []struct {
			AppID     string `json:"app_id"`
			Pushkey   string `json:"pushkey"`
			PushkeyTS int64  `json:"pushkey_ts"`
			Tweaks    struct {
				Sound     string `json:"sound"`
				Highlight bool   `json:"highlight"`
			} `json:"tweaks"`
		} `json:"devices"`
	} `json:"notification"`
}

// isBadge says whether a poke is of no event and tells nothing but how much is
// unread.
func (a *arrival) isBadge() bool { return a.tree != nil && a.poke.Notification.EventID == "" }

func listenGateway(ctx context.Context) (*gateway, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", host+":0")
	if err != nil {
		return nil, fmt.Errorf("listen as push gateway: %w", err)
	}
	return &gateway{listener: listener, arrivals: make(chan arrival, 1024)}, nil
}

// url returns where pokes go.
func (g *gateway) url() string {
	return "http://" + g.listener.Addr().String() + pushgateway.NotifyPath
}

// run serves until ctx ends.
func (g *gateway) run(ctx context.Context) error {
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pushgateway.NotifyPath, g.notify)
	server := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: stopTimeout,
		BaseContext:       func(net.Listener) context.Context { return ctx },
	}
	stopped := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		bounded, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
		defer cancel()
		stopped <- server.Shutdown(bounded)
	})
	if err := server.Serve(g.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve as push gateway: %w", err)
	}
	return <-stopped
}

// close closes the listener, if run has not.
func (g *gateway) close() error {
	if err := g.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
		return fmt.Errorf("stop listening: %w", err)
	}
	return nil
}

// notify hands a poke on before it answers: the next one of the same pusher
// comes after the answer, so the order of the pushers' pokes is kept.
func (g *gateway) notify(w http.ResponseWriter, r *http.Request) {
	a := arrival{at: time.Now()}
	var err error
	if a.body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxPokeBytes)); err != nil {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	// What cannot be read is handed on as well: it is no poke that is owed.
	if json.Unmarshal(a.body, &a.poke) == nil {
		_ = decodeTree(a.body, &a.tree)
	}
	select {
	case g.arrivals <- a:
	case <-r.Context().Done():
		http.Error(w, "{}", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, `{"rejected":[]}`) // whoever is gone asks again
}
