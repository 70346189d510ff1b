package hub

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"sync"
)

// Learned are second hosts that nobody has configured, but a hub's indexes have
// linked to (PROTOCOLS 0.4, learn-files). Links to one become /_f/ALIAS/… like
// those to a configured one; the alias is made from the host's base URL. A nil
// *Learned knows none and learns none. It is safe for concurrent use.
type Learned struct {
	allowed func(link *url.URL) bool
	save    func(state []byte)

	mu    sync.Mutex
	bases map[string]*url.URL // guarded by mu, by alias
}

// maxLearned is how many hosts one hub learns; links to more stay as they are.
const maxLearned = 64

// NewLearned has what an earlier one saved: state is what save was called with
// the last time, nil at first. allowed says where links may lead at all.
func NewLearned(state []byte, allowed func(link *url.URL) bool, save func(state []byte)) (*Learned, error) {
	l := &Learned{allowed: allowed, save: save, bases: map[string]*url.URL{}}
	if state == nil {
		return l, nil
	}
	var bases []string
	err := json.Unmarshal(state, &bases)
	for _, text := range bases[:min(len(bases), maxLearned)] {
		if u, e := url.Parse(text); e == nil && u.Host != "" {
			l.bases[aliasOf(u)] = u
		}
	}
	if err != nil {
		err = fmt.Errorf("learned hosts: %w", err)
	}
	return l, err
}

// aliasOf is the alias of a base URL.
func aliasOf(base *url.URL) string {
	sum := sha256.Sum256([]byte(base.String()))
	return hex.EncodeToString(sum[:5])
}

// Base is the base URL of an alias; nil if there is none.
func (l *Learned) Base(alias string) *url.URL {
	if l == nil {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.bases[alias]
}

// learn is the alias of the host that link, an absolute URL, leads to; "" if it is
// none that may be learned.
func (l *Learned) learn(link *url.URL) (alias string) {
	if l == nil || link.Host == "" {
		return ""
	}
	base := &url.URL{Scheme: link.Scheme, Host: hostOf(link), Path: "/"}
	alias = aliasOf(base)
	if l.Base(alias) != nil {
		return alias
	}
	if !l.allowed(link) {
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.bases[alias] == nil {
		if len(l.bases) >= maxLearned {
			return ""
		}
		l.bases[alias] = base
		l.saveLocked()
	}
	return alias
}

// saveLocked hands the state over. It is small, and changes a few times in a life.
func (l *Learned) saveLocked() {
	all := make([]string, 0, len(l.bases))
	for _, u := range l.bases {
		all = append(all, u.String())
	}
	slices.Sort(all)
	text, err := json.Marshal(all)
	if err != nil {
		panic(err) // strings cannot fail
	}
	l.save(text)
}
