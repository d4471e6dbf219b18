package page

import (
	"net/http"
	"net/url"
)

// maxForm is how many bytes a form may have.
const maxForm = 64 << 10

// route sets up which address shows which page.
func (p *Page) route() {
	p.mux = http.NewServeMux()
	p.mux.HandleFunc("GET /{$}", p.show(p.wellView()))
	p.mux.HandleFunc("GET /gateways", p.show(p.gatewaysView()))
	p.mux.HandleFunc("GET /trace", p.show(p.traceView()))
	p.mux.HandleFunc("GET /person", p.show(p.personView()))
	p.mux.HandleFunc("GET /dead", p.show(p.deadView()))
	p.mux.HandleFunc("GET /dead/{seq}", p.show(p.letterView()))
	p.mux.HandleFunc("GET /history", p.show(p.historyView()))
	p.mux.HandleFunc("GET /history/{id}", p.show(p.entryView()))
	p.mux.HandleFunc("GET /login", p.loginForm)
	p.mux.Handle("POST /login", p.sameOrigin(p.logIn))
	p.mux.Handle("POST /logout", p.sameOrigin(p.logOut))
	p.routeActions()
	p.mux.HandleFunc("GET /static/page.css", static)
	p.mux.HandleFunc("GET /static/page.js", static)
	p.mux.HandleFunc("GET /static/icon.svg", static)
	p.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if !p.access.mayLook(r) {
			p.askToken(w, r)
			return
		}
		p.fail(w, r, notFound("There is no such page."))
	})
}

// sameOrigin refuses a request that a page of another origin has caused, and bounds its form.
func (p *Page) sameOrigin(handle http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := p.access.origin.Check(r); err != nil {
			p.cfg.Log.Warn("a request of another origin was refused", "path", r.URL.Path, "error", err)
			p.fail(w, r, &problem{http.StatusForbidden, "This request came from another page, and was refused."})
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			p.fail(w, r, badInput("The form cannot be read."))
			return
		}
		handle(w, r)
	})
}

// askToken answers a request that needs the token.
func (p *Page) askToken(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("WWW-Authenticate", `Bearer realm="poked"`)
	switch {
	case !p.access.canAct():
		http.Error(w, "this page is open on a loopback address only, to requests that name it and came through no proxy;\n"+
			"with --ops-token-file it asks for a token instead", http.StatusForbidden)
	case r.Method == http.MethodGet && r.Header.Get("Authorization") == "":
		http.Redirect(w, r, "/login?next="+url.QueryEscape(r.URL.RequestURI()), http.StatusSeeOther)
	default:
		http.Error(w, "the token of --ops-token-file is missing or wrong", http.StatusUnauthorized)
	}
}

// loginPage is what the form for the token shows.
type loginPage struct {
	Next, Wrong string
}

func (p *Page) loginForm(w http.ResponseWriter, r *http.Request) {
	p.showLogin(w, r, http.StatusOK, loginPage{Next: localPath(r.URL.Query().Get("next"))})
}

func (p *Page) showLogin(w http.ResponseWriter, r *http.Request, status int, shown loginPage) {
	if !p.access.canAct() {
		p.fail(w, r, notFound("There is no token: this process was started without --ops-token-file, and has no actions."))
		return
	}
	f := p.frameOf(r, view{title: "Log in", section: "/login"})
	f.Data = shown
	p.render(w, status, "login", f)
}

func (p *Page) logIn(w http.ResponseWriter, r *http.Request) {
	next := localPath(r.PostForm.Get("next"))
	cookie, err := p.access.logIn(r.PostForm.Get("token"), isHTTPS(r))
	if err != nil {
		p.cfg.Log.Warn("a login to the operators' page was refused", "remote", r.RemoteAddr, "error", err)
		p.showLogin(w, r, http.StatusForbidden, loginPage{Next: next, Wrong: sentence(err.Error()) + "."})
		return
	}
	p.cfg.Log.Info("an operator has logged in to the page", "remote", r.RemoteAddr)
	http.SetCookie(w, cookie)
	http.Redirect(w, r, next, http.StatusSeeOther) //nolint:gosec // localPath has checked it
}

func (p *Page) logOut(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, p.access.logOut(r))
	http.Redirect(w, r, "/", http.StatusSeeOther)
}
