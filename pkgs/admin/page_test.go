package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// board is a page with nothing to show.
func board() *Board {
	return &Board{
		Overview: func() Overview { return Overview{} }, Leagues: func() []League { return nil },
		Races: func() []Race { return nil }, Problems: func() []Problem { return nil },
		Config: func() (string, error) { return "listen: ''\n", nil }, Now: time.Now,
	}
}

func TestPagesOfNothing(t *testing.T) {
	h := New(Options{Board: board()})
	for _, path := range []string{"/", "/mirrors", "/problems", "/configuration"} {
		w := ask(h, "GET", path, nil)
		assert.Equal(t, 200, w.Code, w.Body.String())
		assert.Contains(t, w.Body.String(), "</html>")
		assert.Equal(t, "same-origin", w.Header().Get("Referrer-Policy"))
	}
	assert.Equal(t, 200, ask(h, "GET", "/api/v1/", nil).Code)
}

func TestSessions(t *testing.T) {
	now := time.Now()
	b := board()
	b.Now = func() time.Time { return now }
	h := New(Options{Board: b, Token: "correct horse"})
	w := ask(h, "GET", "/mirrors", map[string]string{"Accept": "text/html"})
	assert.Equal(t, 303, w.Code)
	assert.Equal(t, loginPath, w.Header().Get("Location"))
	assert.Equal(t, 200, ask(h, "GET", loginPath, nil).Code)
	assert.Equal(t, 200, ask(h, "GET", "/web/page.css", nil).Code)
	assert.Equal(t, 401, ask(h, "GET", "/api/v1/", nil).Code)
	assert.Equal(t, 403, ask(h, "POST", loginPath+"?token=wrong", nil).Code)

	cookie := http.Header{"Cookie": {sessionCookie + "=" + newSessions("correct horse", b.Now).begin()}}.Get("Cookie")
	assert.Equal(t, 200, ask(h, "GET", "/mirrors", map[string]string{"Cookie": cookie}).Code)
	assert.Equal(t, 401, ask(h, "GET", "/mirrors", map[string]string{"Cookie": cookie + "AAAA"}).Code)
	other := New(Options{Board: b, Token: "another"})
	assert.Equal(t, 401, ask(other, "GET", "/mirrors", map[string]string{"Cookie": cookie}).Code, "the token is another one now")

	form := func(path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest("POST", path, strings.NewReader(body))
		r.Host = "127.0.0.1:8882"
		r.Header = http.Header{"Content-Type": {"application/x-www-form-urlencoded"}, "Origin": {"http://127.0.0.1:8882"}, "Cookie": {cookie}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		return w
	}
	w = form(loginPath, "token=wrong")
	assert.Equal(t, 403, w.Code)
	assert.Contains(t, w.Body.String(), "That is not the token.")
	assert.Empty(t, w.Header()["Set-Cookie"])
	w = form(loginPath, "token=correct+horse")
	assert.Equal(t, 303, w.Code)
	given := w.Result().Cookies()[0]
	assert.True(t, given.HttpOnly)
	assert.Equal(t, http.SameSiteStrictMode, given.SameSite)
	assert.Equal(t, 200, ask(h, "GET", "/mirrors", map[string]string{"Cookie": given.Name + "=" + given.Value}).Code)
	slow := &deadlined{ResponseRecorder: httptest.NewRecorder()}
	r := httptest.NewRequest("POST", loginPath, strings.NewReader("token=wrong"))
	r.Host = "127.0.0.1:8882"
	h.ServeHTTP(slow, r)
	assert.Equal(t, 403, slow.Code)
	if assert.Len(t, slow.read, 2) {
		assert.WithinDuration(t, time.Now(), slow.read[0], time.Minute, "who is nobody yet has not for ever to say a token")
		assert.Zero(t, slow.read[1])
	}
	w = form(logoutPath, "")
	assert.Equal(t, 303, w.Code)
	assert.Negative(t, w.Result().Cookies()[0].MaxAge, "the browser forgets it")

	now = now.Add(sessionTime)
	assert.Equal(t, 401, ask(h, "GET", "/mirrors", map[string]string{"Cookie": cookie}).Code, "it has ended")
}

// deadlined keeps the deadlines that its connection would have.
type deadlined struct {
	*httptest.ResponseRecorder
	read []time.Time
}

func (d *deadlined) SetReadDeadline(t time.Time) error {
	d.read = append(d.read, t)
	return nil
}

// The head of a stream is no stream.
func TestLiveHead(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, "HEAD", "/live/", nil)
	r.Host = "localhost"
	w := httptest.NewRecorder()
	New(Options{Board: board()}).ServeHTTP(w, r)
	assert.Equal(t, 200, w.Code)
	assert.Equal(t, "text/event-stream", w.Header().Get("Content-Type"))
	assert.Empty(t, w.Body)
}
