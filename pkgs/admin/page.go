package admin

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"time"
)

// A Board is what the page for people shows, besides what [Options] have. All of
// its functions are required; they may be called at any time, concurrently.
type Board struct {
	Overview func() Overview
	Leagues  func() []League
	Races    func() []Race          // of late, the newest first
	Problems func() []Problem       // of late, the newest first
	Config   func() (string, error) // in force, as YAML, secrets masked
	Now      func() time.Time
}

// An Overview is what the cache has come to since the process began.
type Overview struct {
	Version  string
	Started  time.Time
	Revision int64     // of the configuration
	InForce  time.Time // since when that one is
	Draining bool

	Stored, Limit, Free int64 // bytes; Limit 0: none
	Entries             int64
	Scanned             bool // Stored and Entries are complete
	Trouble             string
	Seconds             float64 // that mirrors would have taken for what was saved: an estimate

	Hubs    []HubCounts
	History []Point // the oldest first
}

// HubCounts are what requests for a hub came to.
type HubCounts struct {
	Name, Type, Path string
	Offline          bool
	Totals
}

// Totals are counted since the process began.
type Totals struct {
	Requests int64 // answers
	Hits     int64 // of those, what no download was begun for
	Sent     int64 // bytes of answers
	Saved    int64 // of those, bytes that were not fetched for them
}

// A League is the mirrors of a hub, or of a second host of its own.
type League struct {
	Hub, Origin string
	Races       int64
	Hedges      int64 // mirrors that were asked because others were late
	Switches    int64 // bodies that went on from another mirror
	Mirrors     []Mirror
}

// A Mirror is one of a league.
type Mirror struct {
	Mirror  string // base URL
	State   string // closed: it is asked like any other; open, half-open, paused
	Wins    int64
	Asked   int64
	Failed  int64
	Bytes   int64
	First   time.Duration // from request to head, of late; 0: not known
	Rate    float64       // bytes a second, of late; 0: not known
	Errors  float64       // share of requests that failed, of late
	Lag     time.Duration // behind the freshest; 0: it is not, as far as is known
	Error   string        // the last one
	ErrorAt time.Time
}

// A Race is one that more than one mirror was in.
type Race struct {
	Hub, Path string
	At        time.Time
	Winner    string
	Took      time.Duration
	Rivals    []Rival
}

// A Rival lost a race.
type Rival struct {
	Mirror   string
	Ending   string // in a word: outrun, absent, failed, …
	Answered bool
	Behind   time.Duration // the winner; if it has not answered, when it was given up
}

// A Problem is a warning or an error of the log.
type Problem struct {
	Time       time.Time
	Level      string
	Message    string
	Attributes map[string]string
}

//go:embed web
var web embed.FS

// assets are served as they are, to everybody: nothing in them is anybody's.
var assets = map[string]string{
	"/web/page.css": "text/css; charset=utf-8",
	"/web/page.js":  "text/javascript; charset=utf-8",
	"/web/icon.svg": "image/svg+xml",
}

// pages serve what people see. Every part of a page that changes by itself is a
// template of its own, which a stream renders again ([pages.live]): what is shown
// first and what comes later is made by the same lines.
type pages struct {
	*Board
	options   *Options
	objects   *objects
	templates *template.Template
	streams   chan struct{} // has a place for each stream there may be
	login     *sessions     // nil: everybody is let in
}

// A kind is one of the pages.
type kind struct {
	path, title string
	template    string
	regions     []string // of the template, which are live
	view        func(r *http.Request) (any, error)
}

func newPages(o *Options, login *sessions) *pages {
	p := &pages{Board: o.Board, options: o, streams: make(chan struct{}, maxStreams), login: login}
	if o.Store != nil {
		p.objects = newObjects(o)
	}
	p.templates = template.Must(template.New("").Funcs(functions).ParseFS(web, "web/*.html"))
	return p
}

// kinds are in the order of the navigation; what has no title is not in it.
func (p *pages) kinds() []kind {
	all := []kind{
		{"/", "Overview", "overview", []string{"savings", "history", "flights", "races", "hubs"}, p.overview},
		{"/mirrors", "Mirrors", "mirrors", []string{"leagues", "races"}, p.mirrors},
	}
	if p.objects != nil {
		all = append(all,
			kind{"/content", "Content", "content", nil, p.content},
			kind{"/object", "", "object", nil, p.object})
	}
	return append(all,
		kind{"/problems", "Problems", "problems", []string{"log"}, p.problems},
		kind{"/configuration", "Configuration", "configuration", nil, p.configuration})
}

// mount adds the pages to a mux.
func (p *pages) mount(mux *http.ServeMux) {
	for _, k := range p.kinds() {
		at := k.path
		if at == "/" {
			at = "/{$}"
		}
		mux.Handle("GET "+at, p.shown(k))
		if len(k.regions) > 0 {
			mux.Handle("GET /live"+at, p.live(k))
		}
	}
	for path, mediaType := range assets {
		text, err := fs.ReadFile(web, path[1:])
		if err != nil {
			panic(err) // it is embedded
		}
		mux.HandleFunc("GET "+path, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", mediaType)
			_, _ = w.Write(text)
		})
	}
	if p.login != nil {
		mux.HandleFunc("GET "+loginPath, p.ask)
		mux.HandleFunc("POST "+loginPath, p.enter)
		mux.HandleFunc("POST "+logoutPath, p.leave)
	}
}

// is reports whether there is a page at path.
func (p *pages) is(path string) bool {
	if p == nil {
		return false
	}
	for _, k := range p.kinds() {
		if k.path == path {
			return true
		}
	}
	return false
}

// A frame is what every page has.
type frame struct {
	Title, Template string
	At              string // path, for the navigation
	Live            string // where changes come from; "": there are none
	Nav             []kind
	Token           bool // there is somebody to sign out
	Version         string
	View            any
}

// Path and Name are for the template.
func (k kind) Path() string { return k.path }

// Name is what the navigation calls it.
func (k kind) Name() string { return k.title }

// shown is the handler of a page.
func (p *pages) shown(k kind) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v, err := k.view(r)
		if err != nil {
			p.failed(w, k, err)
			return
		}
		f := p.frame(k, v)
		if len(k.regions) > 0 {
			f.Live = (&url.URL{Path: "/live" + k.path, RawQuery: r.URL.RawQuery}).String()
		}
		p.write(w, http.StatusOK, f)
	})
}

func (p *pages) frame(k kind, v any) *frame {
	f := &frame{Title: k.title, Template: k.template, At: k.path, Token: p.login != nil, Version: p.options.Version, View: v}
	for _, k := range p.kinds() {
		if k.title != "" {
			f.Nav = append(f.Nav, k)
		}
	}
	return f
}

// failed says why there is no page.
func (p *pages) failed(w http.ResponseWriter, k kind, err error) {
	status, _, message := problem(err)
	k.title, k.template = "Not shown", "failed"
	p.write(w, status, p.frame(k, message))
}

// write renders whole, so that a template that fails leaves no half a page.
func (p *pages) write(w http.ResponseWriter, status int, f *frame) {
	var body, b bytes.Buffer
	err := p.templates.ExecuteTemplate(&body, f.Template, f.View)
	if err == nil {
		err = p.templates.ExecuteTemplate(&b, "frame", struct {
			*frame
			Body template.HTML // what a template has made
		}{f, template.HTML(body.String())})
	}
	if err != nil {
		writeError(w, fmt.Errorf("page %s: %w", f.Template, err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Referrer-Policy", "same-origin") // else a browser calls the Origin of forms null
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes())
}
