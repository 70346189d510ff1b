package filter

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/bcrypt"
)

type basicAuthOptions struct {
	Htpasswd string `yaml:"htpasswd,required"` // a file of user:bcrypt lines, read again when it changes
	Realm    string `yaml:"realm"`
}

// Check implements [Checker].
func (o *basicAuthOptions) Check(reject func(path, format string, args ...any)) {
	checkRealm(o.Realm, reject)
	if o.Htpasswd == "" { // required
		return
	}
	if _, err := readHtpasswd(o.Htpasswd); err != nil {
		reject("htpasswd", "%v", err)
	}
}

// Files implements [Private].
func (o *basicAuthOptions) Files(file func(path, name string, secret bool)) {
	file("htpasswd", o.Htpasswd, true)
}

// BasicAuth is the kind that wants user and password of a file (RFC 7617). Its
// result is unauthorized.
func BasicAuth() Kind {
	return Define("wants user and password of a htpasswd file", []Result{{Name: "unauthorized"}},
		basicAuthOptions{Realm: "cache-proxy"}, func(o basicAuthOptions, env Env) (Filter, error) {
			users, err := readHtpasswd(o.Htpasswd)
			if err != nil {
				return nil, err
			}
			a := &basicAuth{
				challenge: `Basic realm="` + o.Realm + `", charset="UTF-8"`, log: env.Log,
				working: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), proved: map[proof]struct{}{},
			}
			a.key = make([]byte, 32)
			rand.Read(a.key)
			a.dummy, err = bcrypt.GenerateFromPassword(a.key, costOf(users))
			if err != nil {
				return nil, err
			}
			a.file = newWatched(o.Htpasswd, env.Now, users, readHtpasswd)
			return a, nil
		})
}

// costOf is that of the slowest of the hashes.
func costOf(users map[string][]byte) int {
	most := bcrypt.MinCost
	for _, hash := range users {
		if cost, err := bcrypt.Cost(hash); err == nil {
			most = max(most, cost)
		}
	}
	return most
}

// maxProved is how many right passwords are remembered at a time.
const maxProved = 4096

// A proof is what is remembered of a right password: a keyed digest of the user,
// the password and the hash that it fits.
type proof [sha256.Size]byte

type basicAuth struct {
	challenge string
	file      *watched[map[string][]byte]
	log       *slog.Logger
	key       []byte        // of proofs; new in each process
	dummy     []byte        // what passwords of unknown users are compared with, which takes as long
	working   chan struct{} // full while as many comparisons go on as may: they are slow by design

	mu     sync.Mutex
	proved map[proof]struct{} // guarded by mu
}

func (a *basicAuth) Handle(ctx context.Context, x *Exchange) string {
	users, err := a.file.value()
	if err != nil {
		a.log.Warn("users are those of before", "err", err)
	}
	scheme, value := credentials(x.Request.Client.Header)
	if user, password, ok := basic(value); ok && strings.EqualFold(scheme, "basic") && a.right(ctx, users, user, password) {
		x.authenticated(user)
		return ""
	}
	unauthorized(x, a.challenge)
	return "unauthorized"
}

// right says whether a password is that of the user.
func (a *basicAuth) right(ctx context.Context, users map[string][]byte, user, password string) bool {
	hash, known := users[user]
	if !known {
		hash = a.dummy
	}
	mac := hmac.New(sha256.New, a.key)
	for _, part := range [...]string{user, password, string(hash)} {
		mac.Write([]byte(part))
		mac.Write([]byte{0}) // is in no line of the file
	}
	p := proof(mac.Sum(nil))
	a.mu.Lock()
	_, proved := a.proved[p]
	a.mu.Unlock()
	if proved {
		return true
	}
	select {
	case a.working <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	err := bcrypt.CompareHashAndPassword(hash, []byte(password))
	<-a.working
	if err != nil || !known {
		return false
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.proved) >= maxProved {
		clear(a.proved)
	}
	a.proved[p] = struct{}{}
	return true
}

func (a *basicAuth) Status() any { return map[string]int{"users": len(a.file.known())} }

// A watched file has a value, which is read again when the file changes. It is
// looked at once a second at most.
type watched[T any] struct {
	name string
	now  func() time.Time
	read func(name string) (T, error)

	mu   sync.Mutex
	last T         // guarded by mu, like all below
	at   time.Time // when it was looked at
	seen stamp
}

func newWatched[T any](name string, now func() time.Time, first T, read func(string) (T, error)) *watched[T] {
	return &watched[T]{name: name, now: now, read: read, last: first, at: now(), seen: stampOf(name)}
}

// known is what the file said when it was last looked at.
func (w *watched[T]) known() T {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.last
}

// value is what the file says. With an error, which is returned once for each
// state of the file, it is what the file said before.
func (w *watched[T]) value() (T, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if now.Sub(w.at) < time.Second {
		return w.last, nil
	}
	w.at = now
	s := stampOf(w.name)
	if s == w.seen {
		return w.last, nil
	}
	w.seen = s
	v, err := w.read(w.name)
	if err == nil {
		w.last = v
	}
	return w.last, err
}
