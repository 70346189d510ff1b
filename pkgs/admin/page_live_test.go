package admin

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func request(target string) *http.Request { return httptest.NewRequest("GET", target, nil) }

// A listener is a browser that takes changes.
type listener struct {
	*httptest.ResponseRecorder
	mu sync.Mutex
}

func (l *listener) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.ResponseRecorder.Write(p)
}

// take is what has come since the last time.
func (l *listener) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.Body.Reset()
	return l.Body.String()
}

// listen opens a stream, until stop.
func listen(h http.Handler, target string) (l *listener, stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	l = &listener{ResponseRecorder: httptest.NewRecorder()}
	done := make(chan struct{})
	r := request(target).WithContext(ctx)
	r.Host = "127.0.0.1:8882"
	go func() {
		defer close(done)
		h.ServeHTTP(l, r)
	}()
	synctest.Wait()
	return l, func() { cancel(); <-done }
}

// TestLive: all regions once, then those that have changed, once a second at most.
func TestLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var flights atomic.Pointer[[]Flight]
		flights.Store(&[]Flight{})
		h := New(Options{Board: board(), Flights: func() []Flight { return *flights.Load() }})
		l, stop := listen(h, "/live/?q=wanted")
		assert.Equal(t, "text/event-stream", l.Header().Get("Content-Type"))
		first := l.take()
		for _, region := range []string{"savings", "history", "flights", "races", "hubs"} {
			assert.Contains(t, first, "event: "+region+"\ndata: ")
		}
		for line := range strings.Lines(first) {
			assert.Regexp(t, `^(event: |data: |retry: |\n$)`, line)
		}
		next := func() string {
			time.Sleep(liveEvery)
			synctest.Wait()
			return l.take()
		}
		assert.Equal(t, ": as it was\n\n", next())
		flights.Store(&[]Flight{{Hub: "npm", Path: "/wanted", Total: -1}, {Hub: "npm", Path: "/another", Total: -1}})
		changed := next()
		assert.Contains(t, changed, "event: flights\n")
		assert.Contains(t, changed, "/wanted")
		assert.NotContains(t, changed, "/another", "the filter of the page holds")
		assert.NotContains(t, changed, "event: races")
		assert.Equal(t, ": as it was\n\n", next())
		stop()

		l, stop = listen(h, "/live/problems")
		defer stop()
		time.Sleep(liveTime + time.Second)
		synctest.Wait()
		l.take()
		assert.Empty(t, next(), "it has ended, so that the browser comes again")
	})
}

// TestManyStreams: so many pages may be open, and one that closes makes room.
func TestManyStreams(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := New(Options{Board: board()})
		var stops []func()
		for range maxStreams {
			_, stop := listen(h, "/live/problems")
			stops = append(stops, stop)
		}
		l, stop := listen(h, "/live/")
		assert.Equal(t, 503, l.Code)
		stop()
		stops[0]()
		l, stop = listen(h, "/live/problems")
		assert.Equal(t, 200, l.Code)
		stop()
		for _, stop := range stops[1:] {
			stop()
		}
	})
}
