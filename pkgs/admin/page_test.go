package admin

import (
	"net/http"
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
	now = now.Add(sessionTime)
	assert.Equal(t, 401, ask(h, "GET", "/mirrors", map[string]string{"Cookie": cookie}).Code, "it has ended")
}
