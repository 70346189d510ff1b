package hub

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// A gate is the end of Generations below the cache.
type gate struct {
	*Generations
	next, cached exchange.Source
}

// Errors that let a root wait.
var (
	errOlder    = errors.New("older than what is published")
	errMixed    = errors.New("the mirror is being updated")
	errTooLarge = errors.New("larger than a root may be")
)

// Gate is a [Gatekeeper]'s: what it answers to the cache's question for a root is
// published. A root that is older than the published one, that does not agree
// with its companions, or whose members in use cannot be had is answered 304:
// the published one stays. Whatever is not a root passes.
func (g *Generations) Gate(next, cached exchange.Source) exchange.Source {
	t := &gate{g, next, cached}
	return exchange.SourceFunc(t.get)
}

func (t *gate) get(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
	if req.Origin != "" || req.Head || req.Policy.Class == freshness.Passthrough {
		return t.next.Get(ctx, req)
	}
	if strings.HasPrefix(req.Key.Variant, wasRoot) {
		return t.former(req)
	}
	if digest, ok := strings.CutPrefix(req.Key.Variant, ofRoot); ok {
		return t.companion(ctx, req, exchange.Digest(digest))
	}
	if companions, ok := t.format.Companions(req.Key.Path); ok && req.Key.Variant == "" {
		return t.renew(ctx, req, companions)
	}
	resp, err := t.next.Get(ctx, req)
	if err != nil && len(req.Avoid) > 0 && req.Digest != "" && req.Key.Variant == string(req.Digest) && ctx.Err() == nil {
		// Every mirror has sent something else under this name, which is not the
		// content's own; they may have been updated in the meantime.
		ask := *req
		ask.Avoid, ask.Only = nil, t.Turn(req.Avoid)
		return t.next.Get(ctx, &ask)
	}
	return resp, err
}

// Turn is one of some mirrors, another one each time.
func (g *Generations) Turn(mirrors []string) string {
	return mirrors[int(g.turn.Add(1)%uint32(len(mirrors)))]
}

// maxRounds is how often upstream is asked for a root that can be published.
const maxRounds = 4

// renew asks for a root until there is one to publish.
func (t *gate) renew(ctx context.Context, req *exchange.Request, companions []string) (*exchange.Response, error) {
	root, old := req.Key.Path, req.Validate
	avoid, tour := t.avoid(root, old)
	var last error
	for round := 0; round < maxRounds; round++ {
		ask := *req
		ask.Avoid = slices.Concat(req.Avoid, avoid)
		resp, err := t.next.Get(ctx, &ask)
		if len(avoid) > 0 && (err != nil || resp.Entry.Status >= http.StatusBadRequest) && ctx.Err() == nil {
			// The others have no answer, or none that counts without those left out.
			if err == nil {
				resp.Body.Close()
			}
			avoid = nil
			if tour {
				t.toured(root, "")
			}
			if last != nil {
				break
			}
			continue
		}
		if tour && err == nil {
			t.toured(root, resp.Entry.Mirror)
		}
		if err == nil && resp.Entry.Status == http.StatusNotModified && old != nil && old.Mirror == resp.Entry.Mirror {
			// Another mirror's 304 may only mean that what it has is older.
			t.look(root, resp.Entry.Mirror, t.readRoot(root, old.Digest))
			t.settle(ctx, req, companions)
		}
		if err != nil || resp.Entry.Status != http.StatusOK {
			return resp, err
		}
		out, err := t.admit(ctx, req, resp, companions, round == maxRounds-1)
		if err == nil {
			return out, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		t.log.WarnContext(ctx, "root not published", "hub", t.hub, "key", root, "mirror", resp.Entry.Mirror, "err", err)
		var waits *waiting
		if errors.As(err, &waits) {
			return t.unchanged(req, retryTime), nil
		}
		if last = err; errors.Is(err, errOlder) {
			t.fellBehind(root, resp.Entry.Mirror)
		}
		if avoid, _ = t.avoid(root, nil); !errors.Is(err, errMixed) {
			avoid = append(avoid, resp.Entry.Mirror)
		}
	}
	switch {
	case old != nil && errors.Is(last, errOlder):
		return t.unchanged(req, 0), nil
	case old != nil:
		return t.unchanged(req, retryTime), nil
	}
	return nil, &exchange.Error{Status: http.StatusBadGateway, Message: "no mirror has an index that can be read", Err: last}
}

// unchanged is a 304 of our own. The entry that it freshens is looked at again
// after retry, if that is not 0 and sooner than its policy says.
func (t *gate) unchanged(req *exchange.Request, retry time.Duration) *exchange.Response {
	now := t.now()
	received := now
	if ttl := req.Policy.TTL; retry > 0 && ttl > retry && ttl != freshness.Forever {
		received = now.Add(retry - ttl)
	}
	return &exchange.Response{Body: http.NoBody, Entry: &exchange.Entry{
		Key: req.Key, Status: http.StatusNotModified, Header: http.Header{}, Size: req.Validate.Size,
		Mirror: req.Validate.Mirror, Requested: received, Received: received,
	}}
}

// waiting says that a root waits for its members.
type waiting struct{ err error }

func (w *waiting) Error() string { return "waits for its members: " + w.err.Error() }
func (w *waiting) Unwrap() error { return w.err }

// admit decides on an answer that may be a new root, which it takes over. last
// says that no other will be asked for.
func (t *gate) admit(ctx context.Context, req *exchange.Request, resp *exchange.Response, companions []string, last bool) (*exchange.Response, error) {
	select {
	case t.reading <- struct{}{}:
		defer func() { <-t.reading }()
	case <-ctx.Done():
		resp.Body.Close()
		return nil, context.Cause(ctx)
	}
	content, err := io.ReadAll(io.LimitReader(resp.Body, maxRoot+1))
	switch {
	case err != nil:
		resp.Body.Close()
		return nil, fmt.Errorf("read %v: %w", req.Key, err)
	case len(content) > maxRoot && t.format.Read == nil:
		resp.Body, resp.Ranges = rest{io.MultiReader(bytes.NewReader(content), resp.Body), resp.Body}, nil
		return resp, nil // it is not looked into, and its companions are by themselves
	}
	resp.Body.Close()
	if len(content) > maxRoot {
		return nil, errTooLarge
	}
	sum := sha256.Sum256(content)
	digest := exchange.NewDigest("sha256", sum[:])
	e := *resp.Entry
	e.Size, e.Digest = int64(len(content)), digest
	if old := req.Validate; old != nil && old.Digest == digest {
		// The same bytes, maybe from elsewhere: what is stored keeps its validators.
		same := t.unchanged(req, 0)
		if e.Mirror == old.Mirror {
			same.Entry.Header = e.Header
			t.settle(ctx, req, companions)
		}
		same.Entry.Requested, same.Entry.Received = e.Requested, e.Received
		t.look(req.Key.Path, e.Mirror, t.readRoot(req.Key.Path, digest))
		return same, nil
	}
	root, err := t.parse(&e, bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	t.look(req.Key.Path, e.Mirror, root)
	published := t.newest(req.Key.Path)
	if stored := t.published(ctx, req); stored != nil {
		published = max(published, stored.Order)
	}
	if root.Order != 0 && root.Order < published {
		return nil, errOlder
	}
	gen := t.keep(req.Key.Path, digest, root)
	with, err := t.fetchCompanions(ctx, req, &e, root, companions)
	if err == nil {
		err = t.fetchMembers(ctx, gen)
	}
	if err != nil && ctx.Err() == nil && t.overdue(req, err, last) {
		t.log.WarnContext(ctx, "root published without all that belongs to it", "hub", t.hub, "key", req.Key.Path, "mirror", e.Mirror, "err", err)
		if errors.Is(err, errMixed) {
			with = nil // they are of another one
		}
		err = nil
	}
	if err != nil {
		return nil, err
	}
	t.publish(ctx, gen, &companion{entry: &e, content: content, noStore: resp.NoStore}, with)
	return &exchange.Response{Entry: &e, Body: buffered(content), Unproven: resp.Unproven, NoStore: resp.NoStore}, nil
}

// look tells whoever wants to know how old a mirror's root is; root may be nil.
func (t *gate) look(path, mirror string, root *Root) {
	if t.saw != nil && root != nil && root.Order > 0 {
		t.saw(path, mirror, time.Unix(root.Order, 0))
	}
}

// readRoot is a root that was read; nil if it is not known any more.
func (t *gate) readRoot(path string, digest exchange.Digest) *Root {
	if gen := t.read(path, digest); gen != nil {
		return gen.Root
	}
	return nil
}

// published is what the entry that req validates says. It must not wait for the
// flight that it runs in.
func (t *gate) published(ctx context.Context, req *exchange.Request) *Root {
	old := req.Validate
	if old == nil {
		return nil
	}
	if gen := t.read(req.Key.Path, old.Digest); gen != nil {
		return gen.Root
	}
	if t.format.Read == nil {
		root, _ := t.parse(old, nil)
		return root
	}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	stored := *req
	stored.Validate, stored.Policy = nil, freshness.Policy{TTL: freshness.Forever}
	resp, err := t.cached.Get(ctx, &stored)
	if err != nil {
		return nil
	}
	defer resp.Body.Close()
	if gen := t.generation(resp); gen != nil && gen.Digest == old.Digest {
		return gen.Root
	}
	return nil
}

// fetchMembers makes sure that what clients use of a set can be had as gen has it.
func (t *gate) fetchMembers(ctx context.Context, gen *Generation) error {
	var missing error
	for _, name := range t.hotMembers(gen.Path) {
		f, ok := gen.Members[name]
		if !ok {
			continue // it is no more
		}
		if err := t.fetchMember(ctx, t.member(t.format.Request(name), gen.Root, f)); err != nil {
			missing = errors.Join(missing, fmt.Errorf("%s: %w", name, err))
		}
	}
	if missing != nil {
		return &waiting{missing}
	}
	return nil
}

func (t *gate) fetchMember(ctx context.Context, req *exchange.Request) error {
	resp, err := t.cached.Get(ctx, req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	switch {
	case resp.Entry.Status != http.StatusOK:
		return fmt.Errorf("status %d", resp.Entry.Status)
	case resp.Outcome.Hit && resp.Entry.Digest != "":
		return nil
	}
	_, err = io.Copy(io.Discard, resp.Body) // whose end is its proof
	return err
}

// overdue says that a new root has waited for too long, or that there is none to
// stay in its place; then what belongs to it is left to chance.
func (t *gate) overdue(req *exchange.Request, err error, last bool) bool {
	if req.Validate == nil {
		return last || !errors.Is(err, errMixed)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	s, now := t.setLocked(req.Key.Path), t.now()
	if now.Sub(s.last) >= t.hold {
		s.since = now
	}
	s.last = now
	return now.Sub(s.since) >= t.hold
}

// publish puts the companions of a generation into the cache, where they are
// found by the time that its root can be, and the root itself for when another
// one has taken its place; and begins to count anew.
func (t *gate) publish(ctx context.Context, gen *Generation, root *companion, with []*companion) {
	// A companion's own flight may wait for this one.
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	for _, c := range with {
		t.store(ctx, companionOf(t.format.Request(c.entry.Key.Path), gen.Digest), c)
	}
	if t.format.Read != nil || slices.ContainsFunc(with, (*companion).there) {
		was := rootWas(t.format.Request(gen.Path), gen.Digest)
		t.store(ctx, was, root)
		t.retain(ctx, was, root)
	}
	defer t.Save()
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.setLocked(gen.Path)
	s.current, s.with = gen.Digest, nil
	for _, c := range with {
		if c.there() {
			s.with = append(s.with, c.entry.Key.Path)
		}
	}
	s.publication++
	if gen.Order > s.latest.order { // whoever asked for it has it soon
		s.latest = latest{gen.Digest, gen.Order, t.now()}
	}
	s.since, s.last = time.Time{}, time.Time{}
	s.settle, s.pause = time.Time{}, 0
}

// store puts what is at hand into the cache, as the answer to req.
func (t *gate) store(ctx context.Context, req *exchange.Request, c *companion) {
	t.mu.Lock()
	t.prepared[req.Key] = c
	t.mu.Unlock()
	if resp, err := t.cached.Get(ctx, req); err == nil {
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	t.mu.Lock()
	delete(t.prepared, req.Key)
	t.mu.Unlock()
}

// retain keeps a published root in memory if the cache has not stored it, in place
// of what was kept of its set: while the disk fails, clients get it all the same,
// and not what is stored, which is older.
func (t *gate) retain(ctx context.Context, was *exchange.Request, c *companion) {
	t.mu.Lock()
	size := len(c.content)
	for key, other := range t.unstored {
		if key.Path == was.Key.Path {
			delete(t.unstored, key)
		} else {
			size += len(other.content)
		}
	}
	if size <= maxUnstored {
		t.unstored[was.Key] = c
	}
	t.mu.Unlock()
	resp, err := t.cached.Get(ctx, was)
	if err != nil {
		return
	}
	defer resp.Body.Close()
	if resp.Outcome.Hit {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.unstored, was.Key)
	}
}

// rest is a body of which some was read.
type rest struct {
	io.Reader
	io.Closer
}
