package filter

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type webhookOptions struct {
	URL      *url.URL      `yaml:"url,required"` // that is sent a POST; http or https
	Token    Secret        `yaml:"token"`        // sent as Authorization Bearer
	Timeout  time.Duration `yaml:"timeout"`
	Remember time.Duration `yaml:"remember"` // how long its word holds

	// Whether downloads of what is stored are asked about too.
	Stored bool `yaml:"stored"`

	// Whether downloads go on where nobody can be asked.
	Open bool `yaml:"fail-open"`
}

// Check implements [Checker].
func (o *webhookOptions) Check(reject func(path, format string, args ...any)) {
	if o.URL != nil && (o.URL.Scheme != "http" && o.URL.Scheme != "https" || o.URL.Host == "") {
		reject("url", "%v is no URL such as https://policy.example.org/validate", o.URL.Redacted())
	}
	if o.Timeout <= 0 || o.Timeout > time.Minute {
		reject("timeout", "must be more than 0 and at most 1m")
	}
	if o.Remember < 0 {
		reject("remember", "must be 0 or more")
	}
}

// Webhook is the kind that asks somebody before a version is downloaded for the
// first time, as the validation hook of Athens: a POST of {"Module", "Version"},
// to which 200 is yes, 403 no, and all else no answer. Its results are denied and
// failed. Indexes are not asked about.
func Webhook() Kind {
	return Define("asks a service before a first download", []Result{{Name: "denied"}, {Name: "failed"}},
		webhookOptions{Timeout: 5 * time.Second, Remember: time.Hour}, func(o webhookOptions, env Env) (Filter, error) {
			w := &webhook{
				webhookOptions: o, log: env.Log, now: env.Now, turns: make(chan struct{}, maxQuestions),
				known: map[string]verdict{}, asking: map[string]*question{},
			}
			w.client = &http.Client{Timeout: o.Timeout, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
			return w, nil
		})
}

const (
	maxVerdicts  = 65536
	maxQuestions = 64      // on their way; whoever has another one waits
	maxReason    = 4 << 10 // bytes of an answer that are looked at
)

type webhook struct {
	webhookOptions
	client *http.Client
	log    *slog.Logger
	now    func() time.Time
	asked  atomic.Int64
	turns  chan struct{} // has one for each question that is on its way

	mu     sync.Mutex
	known  map[string]verdict   // guarded by mu; by package URL and hub
	asking map[string]*question // guarded by mu; likewise
}

// A verdict is what the service has said.
type verdict struct {
	denied bool
	reason string
	until  time.Time
}

// A question is one that is on its way, for all who want to know.
type question struct {
	done chan struct{} // closed when the others are set
	verdict
	err error
}

func (w *webhook) Handle(ctx context.Context, x *Exchange) string {
	r := x.Request
	if r.Package == "" || r.Version == "" || r.Head {
		return ""
	}
	if !w.Stored && x.Hub.Stored != nil && x.Hub.Stored(ctx, r.Key) {
		return ""
	}
	v, err := w.ask(ctx, x)
	switch {
	case err != nil && w.Open:
		w.log.Warn("nobody could be asked, the download goes on", "hub", x.Hub.Name, "key", r.Key.String(), "err", err)
		return ""
	case err != nil:
		x.Refuse(&exchange.Error{Status: http.StatusInternalServerError, Message: "nobody can be asked whether this may be downloaded", Reason: "filter", Err: err})
		return "failed"
	case v.denied:
		message := r.Package + "@" + r.Version + " may not be downloaded"
		if v.reason != "" {
			message += ": " + v.reason
		}
		x.Refuse(&exchange.Error{Status: http.StatusForbidden, Message: message, Reason: "denied"})
		return "denied"
	}
	return ""
}

// ask is the verdict of the service, which is asked once for all who wait.
func (w *webhook) ask(ctx context.Context, x *Exchange) (verdict, error) {
	r := x.Request
	purl := purlOf(x.Hub, r.Package, r.Version)
	key := x.Hub.Name + " " + purl
	v, q := w.heard(key)
	if q == nil && v == nil {
		select {
		case w.turns <- struct{}{}:
		case <-ctx.Done():
			return verdict{}, context.Cause(ctx)
		}
		body, err := json.Marshal(map[string]string{"Module": r.Package, "Version": r.Version, "Hub": x.Hub.Name, "Type": x.Hub.Type, "Purl": purl})
		if err != nil {
			panic(err) // strings
		}
		v, q = w.begin(key, body)
	}
	if v != nil {
		return *v, nil
	}
	select {
	case <-q.done:
		return q.verdict, q.err
	case <-ctx.Done():
		return verdict{}, context.Cause(ctx)
	}
}

// heard is what the service has said, or the question that is on its way; neither if
// it is to be asked.
func (w *webhook) heard(key string) (*verdict, *question) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.heardLocked(key, now)
}

func (w *webhook) heardLocked(key string, now time.Time) (*verdict, *question) {
	if v, ok := w.known[key]; ok && now.Before(v.until) {
		return &v, nil
	}
	return nil, w.asking[key]
}

// begin asks, unless somebody has begun to meanwhile. The caller has taken a turn,
// which ends with the question.
func (w *webhook) begin(key string, body []byte) (*verdict, *question) {
	now := w.now()
	w.mu.Lock()
	defer w.mu.Unlock()
	v, q := w.heardLocked(key, now)
	if v != nil || q != nil {
		<-w.turns
		return v, q
	}
	q = &question{done: make(chan struct{})}
	w.asking[key] = q
	go w.post(key, q, body) // ends with the client's timeout
	return nil, q
}

// post asks, and keeps what it hears. Nobody's leaving ends it.
func (w *webhook) post(key string, q *question, body []byte) {
	defer func() { <-w.turns }()
	w.asked.Add(1)
	q.verdict, q.err = w.send(body)
	if q.denied {
		w.log.Info("download denied", "purl", key, "reason", q.reason)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.asking, key)
	if q.err == nil && w.Remember > 0 {
		if len(w.known) >= maxVerdicts {
			clear(w.known)
		}
		q.until = w.now().Add(w.Remember)
		w.known[key] = q.verdict
	}
	close(q.done)
}

func (w *webhook) send(body []byte) (verdict, error) {
	req, err := http.NewRequest(http.MethodPost, w.URL.String(), bytes.NewReader(body))
	if err != nil {
		return verdict{}, err
	}
	req.Header.Set("Content-Type", "application/json")
	if w.Token != "" {
		req.Header.Set("Authorization", "Bearer "+string(w.Token))
	}
	resp, err := w.client.Do(req)
	if err != nil {
		return verdict{}, err
	}
	defer resp.Body.Close()
	reason, _ := io.ReadAll(io.LimitReader(resp.Body, maxReason)) // an answer cut short is an answer
	switch resp.StatusCode {
	case http.StatusOK:
		return verdict{}, nil
	case http.StatusForbidden:
		return verdict{denied: true, reason: printable(string(reason))}, nil
	}
	return verdict{}, fmt.Errorf("%s answers %s", w.URL.Redacted(), resp.Status)
}

// printable is one line of s.
func printable(s string) string {
	b := make([]rune, 0, len(s))
	for _, r := range s {
		if r < ' ' || r == 0x7f {
			r = ' '
		}
		b = append(b, r)
	}
	return string(bytes.TrimSpace([]byte(string(b))))
}

func (w *webhook) Status() any {
	w.mu.Lock()
	defer w.mu.Unlock()
	return map[string]int64{"asked": w.asked.Load(), "known": int64(len(w.known))}
}
