package page

import (
	"context"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"poked/events/stream"
)

// maxHistory is how many actions are remembered.
const maxHistory = 100

// entry is an action that somebody has begun here.
type entry struct {
	ID     int
	At     time.Time
	From   string // address of who did it
	What   string // in words
	Back   string // the page to go back to
	State  state
	Result string // in words, "" while it runs
	Done   int
	All    int // 0 for an action of one step
}

// Running reports whether the action is still going on.
func (e entry) Running() bool { return e.Result == "" }

// history remembers the newest actions of this process.
type history struct {
	mu      sync.Mutex
	entries []entry // oldest first
	last    int     // id
}

// begin adds an action and returns its id.
func (h *history) begin(e entry) int {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last++
	e.ID, e.State = h.last, state{Level: quiet, Word: "running"}
	if h.entries = append(h.entries, e); len(h.entries) > maxHistory {
		h.entries = h.entries[1:]
	}
	return e.ID
}

// change changes an action, if it is still remembered.
func (h *history) change(id int, change func(*entry)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.IndexFunc(h.entries, func(e entry) bool { return e.ID == id }); i >= 0 {
		change(&h.entries[i])
	}
}

// end records what became of an action.
func (h *history) end(id int, s state, result string) {
	h.change(id, func(e *entry) { e.State, e.Result = s, result })
}

// newest returns the actions, newest first.
func (h *history) newest() []entry {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := slices.Clone(h.entries)
	slices.Reverse(all)
	return all
}

func (h *history) get(id int) (entry, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	i := slices.IndexFunc(h.entries, func(e entry) bool { return e.ID == id })
	if i < 0 {
		return entry{}, false
	}
	return h.entries[i], true
}

func (p *Page) historyView() view {
	return view{
		name: "history", section: "/history", title: "History", every: 2 * time.Second, parts: []string{"entries"},
		data: func(_ context.Context, _ *stream.Conn, _ *http.Request, f *frame) error {
			f.Data = p.history.newest()
			return nil
		},
	}
}

func (p *Page) entryView() view {
	return view{
		name: "entry", section: "/history", title: "Action", every: time.Second, parts: []string{"progress"},
		data: func(_ context.Context, _ *stream.Conn, r *http.Request, f *frame) error {
			id, err := strconv.Atoi(r.PathValue("id"))
			e, known := p.history.get(id)
			if err != nil || !known {
				return notFound("This process does not remember that action: it keeps the newest %d since it began.", maxHistory)
			}
			f.Data = e
			return nil
		},
	}
}

// entryPath returns the address of the page about an action.
func entryPath(id int) string { return "/history/" + strconv.Itoa(id) }
