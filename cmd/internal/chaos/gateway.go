package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"poked/cmd/internal/child"
	"poked/cmd/internal/testgateway"
	"poked/events"
	"poked/events/pushgateway"
)

// Behaviours of a gateway.
const (
	behaveWell  = "well"
	behaveError = "500"   // answers 500
	behaveBusy  = "429"   // answers 429 with Retry-After
	behaveDown  = "503"   // answers 503
	behaveFlaky = "flaky" // answers 500 to one poke of three
	behaveHang  = "hang"  // does not answer, and closes the connection when the behaviour changes
	behaveSlow  = "slow"  // answers 200 late
)

// Parameters of the behaviours.
const (
	behaveRetryAfter = 2 * time.Second
	behaveSlowAnswer = 1500 * time.Millisecond
)

// maxPokeBytes is more than any poke of a run has.
const maxPokeBytes = 1 << 20

// request is one request to a gateway.
type request struct {
	Gateway  int            `json:"gateway"`
	Pushkey  string         `json:"pushkey"`
	Event    events.EventID `json:"event_id"` // empty for a badge-only push
	Room     events.RoomID  `json:"room_id"`
	Unread   int            `json:"unread"`
	Arrived  time.Time      `json:"arrived"`
	Answered time.Time      `json:"answered"`
	Status   int            `json:"status"` // 0: no answer
	Gone     bool           `json:"gone"`   // the sender did not wait for the answer
}

// taken reports whether the gateway accepted the poke, even if the sender did not receive
// the answer.
func (p *request) taken() bool { return p.Status == http.StatusOK }

// pokeRecord is every request of a run, in order of arrival.
type pokeRecord struct {
	mu       sync.Mutex
	pokes    []*request
	accepted map[delivery]int // how many times a gateway accepted a poke
}

// delivery identifies a poke: an event for a pusher.
type delivery struct {
	pushkey string
	event   events.EventID
}

func newPokeRecord() *pokeRecord { return &pokeRecord{accepted: map[delivery]int{}} }

// arrived records a request.
func (r *pokeRecord) arrived(p *request) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Arrived = time.Now()
	r.pokes = append(r.pokes, p)
}

// answered records the answer to a request, just before it is sent.
func (r *pokeRecord) answered(p *request, status int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	p.Answered, p.Status = time.Now(), status
	if p.taken() {
		r.accepted[delivery{p.Pushkey, p.Event}]++
	}
}

// missing returns the expected pokes that no gateway has accepted.
func (r *pokeRecord) missing(expected []delivery) []delivery {
	r.mu.Lock()
	defer r.mu.Unlock()
	var missing []delivery
	for _, d := range expected {
		if r.accepted[d] == 0 {
			missing = append(missing, d)
		}
	}
	return missing
}

// history returns a copy of all requests so far.
func (r *pokeRecord) history() []request {
	r.mu.Lock()
	defer r.mu.Unlock()
	history := make([]request, 0, len(r.pokes))
	for _, p := range r.pokes {
		history = append(history, *p)
	}
	return history
}

// gateway is a push gateway that records all requests and whose behaviour can change.
type gateway struct {
	number   int
	rec      *pokeRecord
	link     *link // dispatchers connect through it
	browsers *browsers
	server   *http.Server
	served   chan error

	mu        sync.Mutex
	behaviour string
	over      chan struct{} // closed when the behaviour changes
	count     int
}

func startGateway(ctx context.Context, number int, rec *pokeRecord, browsers *browsers, links *links) (*gateway, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", child.Host+":0")
	if err != nil {
		return nil, fmt.Errorf("listen as push gateway: %w", err)
	}
	g := &gateway{number: number, rec: rec, browsers: browsers, behaviour: behaveWell, over: make(chan struct{}), served: make(chan error, 1)}
	if g.link, err = links.to(listener.Addr().String()); err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST "+pushgateway.NotifyPath, g.notify)
	mux.HandleFunc("POST "+pushPath+"{pushkey}", g.notify)
	g.server = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { g.served <- g.server.Serve(listener) }() // ends with close
	return g, nil
}

// url returns the URL for pokes.
func (g *gateway) url() string { return "http://" + g.link.addr() + pushgateway.NotifyPath }

// resource returns the push resource of a browser: the gateway is its push service.
func (g *gateway) resource(pushkey string) string {
	return "http://" + g.link.addr() + pushPath + pushkey
}

// behave changes the behaviour.
func (g *gateway) behave(behaviour string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	close(g.over)
	g.behaviour, g.over = behaviour, make(chan struct{})
}

func (g *gateway) close() error {
	g.behave(behaveWell) // ends hanging requests
	err := g.server.Close()
	if served := <-g.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}

// notify handles one request.
func (g *gateway) notify(w http.ResponseWriter, r *http.Request) {
	p, err := g.read(w, r)
	if err != nil {
		http.Error(w, "{}", http.StatusBadRequest)
		return
	}
	if p == nil { // a browser was asked for its acknowledgement
		w.WriteHeader(http.StatusCreated)
		return
	}
	g.rec.arrived(p)
	g.mu.Lock()
	behaviour, over := g.behaviour, g.over
	g.count++
	number := g.count
	g.mu.Unlock()
	switch {
	case behaviour == behaveHang:
		<-over
		hangUp(w)
	case behaviour == behaveError, behaviour == behaveFlaky && number%3 == 0:
		g.answer(w, r, p, http.StatusInternalServerError)
	case behaviour == behaveDown:
		g.answer(w, r, p, http.StatusServiceUnavailable)
	case behaviour == behaveBusy:
		w.Header().Set("Retry-After", strconv.Itoa(int(behaveRetryAfter.Seconds())))
		g.answer(w, r, p, http.StatusTooManyRequests)
	case behaviour == behaveSlow:
		<-time.After(behaveSlowAnswer)
		g.answer(w, r, p, http.StatusOK)
	default:
		g.answer(w, r, p, http.StatusOK)
	}
}

func (g *gateway) answer(w http.ResponseWriter, r *http.Request, p *request, status int) {
	g.rec.answered(p, status)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, err := io.WriteString(w, "{}")
	if err != nil || r.Context().Err() != nil {
		g.rec.mu.Lock()
		p.Gone = true
		g.rec.mu.Unlock()
	}
}

// read parses a request. It returns nil for a token that a browser is to acknowledge.
func (g *gateway) read(w http.ResponseWriter, r *http.Request) (*request, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxPokeBytes))
	if err != nil {
		return nil, fmt.Errorf("read poke: %w", err)
	}
	if pushkey := r.PathValue("pushkey"); pushkey != "" {
		if body, err = g.browsers.open(pushkey, body); err != nil || body == nil {
			return nil, err
		}
	}
	p := testgateway.Parse(time.Now(), body)
	n := &p.Notification
	if p.Refusal != nil || len(n.Devices) != 1 {
		return nil, errors.New("read poke: it is not a poke for one device")
	}
	read := &request{Gateway: g.number, Pushkey: n.Devices[0].Pushkey, Event: n.EventID, Room: n.RoomID}
	if n.Counts.Unread != nil {
		read.Unread = *n.Counts.Unread
	}
	return read, nil
}

// hangUp closes the connection without an answer.
func hangUp(w http.ResponseWriter) {
	if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
		_ = conn.Close()
	}
}
