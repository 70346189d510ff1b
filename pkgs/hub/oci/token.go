package oci

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// A grant is a token.
type grant struct {
	token string
	until time.Time
}

// A fetch is a token on its way.
type fetch struct {
	done  chan struct{} // closed when what follows is known
	token string
	err   error
}

// token is one for w: kept, or fetched by whoever comes first.
func (a *authorizer) token(r *http.Request, w want, basic string) (string, error) {
	ctx := r.Context()
	for {
		a.mu.Lock()
		if g, ok := a.grants[w]; ok && a.now().Before(g.until) {
			a.mu.Unlock()
			return g.token, nil
		}
		f := a.fetching[w]
		if f == nil {
			f = &fetch{done: make(chan struct{})}
			a.fetching[w] = f
			a.mu.Unlock()
			a.run(r, w, basic, f)
			return f.token, f.err
		}
		a.mu.Unlock()
		select {
		case <-f.done:
		case <-ctx.Done():
			return "", context.Cause(ctx)
		}
		if f.err == nil {
			return f.token, nil
		}
		if !errors.Is(f.err, context.Canceled) { // who fetched has lost a race: the next one does
			return "", f.err
		}
	}
}

// run fetches a token for all who wait for f.
func (a *authorizer) run(r *http.Request, w want, basic string, f *fetch) {
	token, life, err := a.fetch(r, w, basic)
	if cause := r.Context().Err(); err != nil && cause != nil {
		err = cause
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	f.token, f.err = token, err
	delete(a.fetching, w)
	if err == nil {
		a.tidyLocked()
		a.grants[w] = grant{token, a.now().Add(life)}
	}
	close(f.done)
}

// tidyLocked makes room for a token: first of those that have expired.
func (a *authorizer) tidyLocked() {
	if len(a.grants) < maxWants {
		return
	}
	now := a.now()
	for w, g := range a.grants {
		if !now.Before(g.until) {
			delete(a.grants, w)
		}
	}
	if len(a.grants) >= maxWants {
		clear(a.grants)
	}
}

// A tokenError is an answer of who gives out tokens that is none.
type tokenError struct {
	host       string
	status     int
	retryAfter string
}

func (e *tokenError) Error() string { return fmt.Sprintf("token from %s: status %d", e.host, e.status) }

// fetch asks for a token, and says how long it may be used.
func (a *authorizer) fetch(r *http.Request, w want, basic string) (token string, life time.Duration, err error) {
	u, err := url.Parse(w.realm)
	if err != nil {
		return "", 0, err
	}
	q := u.Query()
	for _, p := range [...][2]string{{"service", w.service}, {"scope", w.scope}} {
		if p[1] != "" {
			q.Set(p[0], p[1])
		}
	}
	u.RawQuery = q.Encode()
	ask, err := http.NewRequestWithContext(r.Context(), http.MethodGet, u.String(), nil)
	if err != nil {
		return "", 0, err
	}
	ask.Header.Set("Accept", "application/json")
	ask.Header["User-Agent"] = r.Header["User-Agent"]
	if basic != "" {
		ask.Header.Set("Authorization", basic)
	}
	res, err := a.next.RoundTrip(ask) // which follows no redirect
	if err != nil {
		return "", 0, fmt.Errorf("token from %s: %w", u.Host, err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		io.CopyN(io.Discard, res.Body, 4<<10)
		return "", 0, &tokenError{u.Host, res.StatusCode, res.Header.Get("Retry-After")}
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxTokenBody))
	if err != nil {
		return "", 0, fmt.Errorf("token from %s: %w", u.Host, err)
	}
	if token, life, err = readToken(body); err != nil {
		return "", 0, fmt.Errorf("token from %s: %w", u.Host, err)
	}
	return token, life, nil
}

// readToken reads an answer with a token. When it was issued does not count: the
// clock of who says so may be wrong.
func readToken(body []byte) (token string, life time.Duration, err error) {
	var answer struct {
		Token       string          `json:"token"`
		AccessToken string          `json:"access_token"`
		ExpiresIn   json.RawMessage `json:"expires_in"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return "", 0, fmt.Errorf("answer: %w", err)
	}
	token = cmp.Or(answer.Token, answer.AccessToken)
	if token == "" || strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", 0, errors.New("answer without a token")
	}
	life = defaultLife
	var seconds float64
	if json.Unmarshal(answer.ExpiresIn, &seconds) == nil && seconds >= 1 {
		life = time.Duration(min(seconds, maxLife.Seconds()) * float64(time.Second))
	}
	// It must not expire between us and the registry.
	return token, life - min(life/10, 10*time.Second), nil
}
