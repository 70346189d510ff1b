package hub

import (
	"bytes"
	"context"
	"net/http"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// settle looks once more at the companions of the root that req validates, whose
// mirror has just said that it has that still. A mirror that is being updated may have
// had the root first, and the companion of the one before beside it, which nobody can
// tell without a key. Such a one is older than its root; what the mirror has of it now
// takes its place. There are mirrors where all are, so that is looked at ever more
// seldom.
func (t *gate) settle(ctx context.Context, req *exchange.Request, paths []string) {
	root := req.Validate
	if len(paths) == 0 || !t.unsettled(req.Key.Path) {
		return
	}
	// Were the root gone, a companion's own flight would wait for this one.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, path := range paths {
		if !t.had(req.Key.Path, path) {
			continue
		}
		ask := companionOf(t.format.Request(path), root.Digest)
		had := t.held(ctx, ask)
		if had == nil || !before(had.entry, root) {
			continue
		}
		changed := ask.Clone()
		changed.Validate = had.entry
		c, err := t.fetchCompanion(ctx, changed, root.Mirror)
		if err != nil || !c.there() || bytes.Equal(c.content, had.content) || before(c.entry, had.entry) {
			continue
		}
		if gen := t.read(req.Key.Path, root.Digest); t.format.Agrees != nil && (gen == nil || !t.format.Agrees(gen.Root, path, c.content)) {
			continue
		}
		if t.still(ctx, req, root) != nil {
			return // it is being updated again
		}
		t.log.InfoContext(ctx, "companion replaced, which was older than its root", "hub", t.hub, "key", path, "mirror", root.Mirror)
		ask.Policy.TTL, ask.Policy.StaleWhileRevalidate = 0, 0
		t.store(ctx, ask, c)
	}
}

// held is a companion as the cache has it; nil if there is none.
func (t *gate) held(ctx context.Context, req *exchange.Request) *companion {
	resp, err := t.cached.Get(ctx, req)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	content, err := ReadAll(resp.Body, maxRoot)
	if err != nil || resp.Entry.Status != http.StatusOK {
		return nil
	}
	return &companion{entry: resp.Entry, content: content}
}

// before says that a was last modified before b, as far as both say.
func before(a, b *exchange.Entry) bool {
	first, err := http.ParseTime(a.Header.Get("Last-Modified"))
	if err != nil {
		return false
	}
	second, err := http.ParseTime(b.Header.Get("Last-Modified"))
	return err == nil && first.Before(second)
}

// unsettled says whether it is time to look at the companions of a published root
// again: at its first validation, and then after twice the time each.
func (t *gate) unsettled(root string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.setLocked(root), t.now()
	if now.Before(s.settle) {
		return false
	}
	s.pause = min(max(2*s.pause, retryTime), 24*time.Hour)
	s.settle = now.Add(s.pause)
	return true
}
