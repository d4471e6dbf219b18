package page

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"time"
)

const (
	// maxLive is how many pages are kept up to date at a time: each takes a connection.
	maxLive = 12
	// liveWrite is how long a browser may take to receive an update.
	liveWrite = 10 * time.Second
	// liveFor is how long a page is kept up to date by one request. A browser then asks again,
	// and with that for permission.
	liveFor = 10 * time.Minute
)

// stream sends the parts of a page that have changed, as server-sent events: each is a JSON
// object of HTML by the id of the element that holds it.
func (p *Page) stream(w http.ResponseWriter, r *http.Request, v view) {
	select {
	case p.live <- struct{}{}:
		defer func() { <-p.live }()
	default:
		http.Error(w, "too many pages are open", http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no")
	tick, end := time.NewTicker(v.every), time.NewTimer(liveFor)
	defer tick.Stop()
	defer end.Stop()
	sent := map[string]string{}
	for {
		if f, err := p.fill(r, v); err == nil { // else the page keeps what it shows
			if err := p.sendParts(w, v, f, sent); err != nil {
				return
			}
		}
		select {
		case <-tick.C:
		case <-end.C:
			return
		case <-r.Context().Done():
			return
		case <-p.ended:
			return
		}
	}
}

// sendParts sends the parts that differ from those that were sent before, or a comment if none
// does, so that both sides notice when the other one is gone.
func (p *Page) sendParts(w http.ResponseWriter, v view, f *frame, sent map[string]string) error {
	changed := map[string]string{}
	for _, part := range v.parts {
		var html bytes.Buffer
		if err := p.views.byName[v.name].ExecuteTemplate(&html, part, f); err != nil {
			return fmt.Errorf("render %s: %w", part, err)
		}
		if text := html.String(); sent[part] != text {
			changed[part], sent[part] = text, text
		}
	}
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(liveWrite)); err != nil {
		return fmt.Errorf("extend the answer: %w", err)
	}
	line := ": nothing new\n\n"
	if len(changed) > 0 {
		data, err := json.Marshal(changed)
		if err != nil {
			return fmt.Errorf("encode parts: %w", err)
		}
		line = "data: " + string(data) + "\n\n"
	}
	if _, err := w.Write([]byte(line)); err != nil {
		return fmt.Errorf("send parts: %w", err)
	}
	if err := control.Flush(); err != nil {
		return fmt.Errorf("send parts: %w", err)
	}
	return nil
}
