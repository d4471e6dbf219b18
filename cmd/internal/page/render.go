package page

import (
	"bytes"
	"context"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"path"
	"strings"
	"time"

	"poked/cmd/internal/operate"
	"poked/cmd/internal/terminal"
	"poked/events/operator"
	"poked/events/stream"
)

//go:embed templates static
var files embed.FS

// views are the templates of the pages, by name.
type views struct {
	byName map[string]*template.Template
}

// parseViews reads the templates: each page together with the frame around it.
func parseViews() (*views, error) {
	names, err := fs.Glob(files, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("find templates: %w", err)
	}
	v := &views{byName: map[string]*template.Template{}}
	for _, file := range names {
		name := strings.TrimSuffix(path.Base(file), ".html")
		if name == "frame" || name == "parts" {
			continue
		}
		t, err := template.New(name).Funcs(functions()).ParseFS(files, "templates/frame.html", "templates/parts.html", file)
		if err != nil {
			return nil, fmt.Errorf("read template %s: %w", name, err)
		}
		v.byName[name] = t
	}
	return v, nil
}

// functions are what templates call.
func functions() template.FuncMap {
	return template.FuncMap{
		"plain":        plain,
		"stamp":        func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05") },
		"iso":          func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"relative":     operate.Relative,
		"soon":         soon,
		"sentence":     sentence,
		"reason":       reasonWords,
		"failure":      operate.Failure,
		"letterDevice": func(l operate.Letter) string { return nameOf(l.Names, l.AppID) },
		"origin":       operate.ShortOrigin,
		"thousands":    func(n any) string { return thousands(asUint(n)) },
		"join":         strings.Join,
		"lines":        func(text string) []string { return strings.Split(text, "\n") },
		"percent":      func(share float64) string { return fmt.Sprintf("%.0f %%", 100*share) },
		"dict":         dict,
		"device":       func(p operate.Pusher) string { return nameOf(p.Names, p.AppID) },
	}
}

// plain returns a text that somebody else has chosen without control characters, and without
// characters that change the direction of what surrounds it.
func plain(text any) string { return strings.Map(terminal.Harmless, fmt.Sprint(text)) }

func asUint(n any) uint64 {
	switch n := n.(type) {
	case uint64:
		return n
	case int:
		return uint64(max(n, 0))
	case int64:
		return uint64(max(n, 0))
	}
	return 0
}

// dict returns the arguments of a template that takes several.
func dict(pairs ...any) (map[string]any, error) {
	args := map[string]any{}
	for i := 0; i+1 < len(pairs); i += 2 {
		key, ok := pairs[i].(string)
		if !ok {
			return nil, fmt.Errorf("argument %d is no name", i)
		}
		args[key] = pairs[i+1]
	}
	return args, nil
}

// frame is what every template gets.
type frame struct {
	Title   string
	Section string // of the navigation
	Path    string // of this page, with its query
	Now     time.Time
	Live    bool // parts of it are replaced while it is open
	CanAct  bool // there is a token
	LoggedIn,
	Local bool // may look without the token
	Data    any
	Missing []string // parts of Data that could not be had
}

// view is one page.
type view struct {
	name, section, title string
	parts                []string // templates that are rendered anew while the page is open
	every                time.Duration
	heavy                bool
	data                 func(ctx context.Context, conn *stream.Conn, r *http.Request, f *frame) error
}

// problem is an error that is shown as a page.
type problem struct {
	status int
	text   string
}

func (e *problem) Error() string { return e.text }

func badInput(format string, args ...any) error {
	return &problem{http.StatusBadRequest, fmt.Sprintf(format, args...)}
}

func notFound(format string, args ...any) error {
	return &problem{http.StatusNotFound, fmt.Sprintf(format, args...)}
}

// show answers requests for a page, and for what changes on it while it is open.
func (p *Page) show(v view) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		switch {
		case !p.access.mayLook(r):
			p.askToken(w, r)
		case len(v.parts) > 0 && strings.Contains(r.Header.Get("Accept"), "text/event-stream"):
			p.stream(w, r, v)
		default:
			f, err := p.fill(r, v)
			if err != nil {
				p.fail(w, r, err)
				return
			}
			p.render(w, http.StatusOK, v.name, f)
		}
	}
}

// frameOf returns the frame of a page.
func (p *Page) frameOf(r *http.Request, v view) *frame {
	return &frame{
		Title: v.title, Section: v.section, Path: r.URL.RequestURI(), Now: time.Now(), Live: len(v.parts) > 0,
		CanAct: p.access.canAct(), LoggedIn: p.access.inSession(r), Local: p.access.cfg.Loopback && isLocal(r),
	}
}

// fill reads what a page shows.
func (p *Page) fill(r *http.Request, v view) (*frame, error) {
	conn := p.conn.Load()
	if conn == nil {
		return nil, &problem{http.StatusServiceUnavailable, *p.waits.Load()}
	}
	ctx, cancel := context.WithTimeout(r.Context(), pageTimeout)
	defer cancel()
	if v.heavy {
		done, err := p.heavy(ctx)
		if err != nil {
			return nil, &problem{http.StatusServiceUnavailable, err.Error()}
		}
		defer done()
	}
	f := p.frameOf(r, v)
	return f, v.data(ctx, conn, r, f)
}

// missing notes a part of a page that could not be had.
func (f *frame) missing(what string, err error) {
	f.Missing = append(f.Missing, fmt.Sprintf("Without %s: %s.", what, explain(err)))
}

// explain returns an error in words for an operator.
func explain(err error) string {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "there was no answer in time. If NATS has permissions, the page needs those of an operator: see --ops-nats"
	case errors.Is(err, operator.ErrNoDispatcher):
		return "no dispatcher answers"
	}
	return plain(err.Error())
}

// render answers with a page.
func (p *Page) render(w http.ResponseWriter, status int, name string, f *frame) {
	var page bytes.Buffer
	if err := p.views.byName[name].ExecuteTemplate(&page, "frame", f); err != nil {
		p.cfg.Log.Error("a page was not rendered", "page", name, "error", err)
		http.Error(w, "the page could not be rendered; the log has the reason", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Vary", "Accept, Cookie")
	w.WriteHeader(status)
	_, _ = w.Write(page.Bytes()) // the browser may be gone
}

// fail answers with a page that explains an error.
func (p *Page) fail(w http.ResponseWriter, r *http.Request, err error) {
	shown := &problem{}
	if !errors.As(err, &shown) {
		shown = &problem{http.StatusBadGateway, explain(err)}
	}
	f := p.frameOf(r, view{title: "Not possible"})
	f.Data = shown.text
	p.render(w, shown.status, "problem", f)
}

// static answers with an embedded file.
func static(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	http.ServeFileFS(w, r, files, path.Join("static", path.Base(r.URL.Path)))
}
