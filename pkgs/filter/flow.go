package filter

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// End is where a jump ends the flow.
const End = "END"

// CacheName is the name of the step that is the cache itself.
const CacheName = "cache"

// Cache is the kind of that step. It has no options, and nothing makes one.
var cacheResults = []Result{
	{Name: "clientError", Goes: true},   // 400 to 499
	{Name: "serverError", Goes: true},   // 500 to 599, as a mirror or the proxy says it
	{Name: "internalError", Goes: true}, // a failure without a face: no mirror could be asked
}

// CacheKind is what a flow knows of the cache: its results.
func CacheKind() Kind {
	return Kind{About: "the cache itself, and what is behind it", Results: cacheResults}
}

// A Named is a filter under the name that flows have for it, and what it has said
// so far.
type Named struct {
	Kind string
	Name string
	Filter

	results []Result
	handled *atomic.Int64
	said    []*atomic.Int64 // of results
}

// NewNamed is a filter of a kind under a name.
func NewNamed(kind, name string, k Kind, f Filter) *Named {
	n := &Named{Kind: kind, Name: name, Filter: f, results: k.Results, handled: &atomic.Int64{}}
	for range k.Results {
		n.said = append(n.said, &atomic.Int64{})
	}
	return n
}

// Inherit makes n count on where old stopped, which is of the same kind and name.
func (n *Named) Inherit(old *Named) {
	n.handled, n.said = old.handled, old.said
	if heir, ok := n.Filter.(Heir); ok {
		heir.Inherit(old.Filter)
	}
}

// Counts are how many requests it has handled, and how many of them came to which result.
func (n *Named) Counts() (handled int64, results map[string]int64) {
	results = map[string]int64{}
	for i, r := range n.results {
		results[r.Name] = n.said[i].Load()
	}
	return n.handled.Load(), results
}

// count counts one request.
func (n *Named) count(result string) {
	n.handled.Add(1)
	if result == "" {
		return
	}
	for i := range n.results {
		if n.results[i].Name == result {
			n.said[i].Add(1)
			return
		}
	}
	panic(fmt.Sprintf("filter %s of kind %s says %q, which is none of its results", n.Name, n.Kind, result))
}

// A Step is a filter's place in a flow.
type Step struct {
	Filter string            // its name; "cache" is the cache
	Alias  string            // what jumps call it; "": Filter
	JumpIf map[string]string // by result: a later step, or End
}

// name is what jumps call it.
func (s *Step) name() string {
	if s.Alias != "" {
		return s.Alias
	}
	return s.Filter
}

// A Flow is filters in their order. It is immutable.
type Flow struct {
	steps []step
}

type step struct {
	*Named // nil: the cache
	kind   Kind
	jumps  map[string]int // len(steps) is the end
}

// CheckFlow calls reject for what is wrong with steps whose kinds are known by
// the names of filters.
func CheckFlow(steps []Step, kinds map[string]Kind, reject func(path, format string, args ...any)) {
	places := map[string]int{}
	for i := range steps {
		s, at := &steps[i], fmt.Sprintf("[%d]", i)
		first, twice := places[s.name()]
		_, known := kinds[s.Filter]
		switch {
		case s.Filter == "": // is required
		case s.Filter == CacheName && s.Alias != "":
			reject(at+".alias", "the cache has no other name")
		case s.Filter != CacheName && !known:
			reject(at+".filter", "there is no filter %q", s.Filter)
		case s.Alias == End || s.Alias == CacheName:
			reject(at+".alias", "%s is reserved", s.Alias)
		case twice && s.Filter == CacheName:
			reject(at, "the cache is step [%d] already", first)
		case twice:
			reject(at, "%s is step [%d] already; give this one an alias", s.name(), first)
		}
		places[s.name()] = i
	}
	if _, ok := places[CacheName]; !ok {
		places[CacheName] = len(steps)
	}
	for i := range steps {
		s, at := &steps[i], fmt.Sprintf("[%d].jumpIf", i)
		k, known := kinds[s.Filter]
		if s.Filter == CacheName {
			k, known = CacheKind(), true
		}
		for _, result := range slices.Sorted(maps.Keys(s.JumpIf)) {
			to := s.JumpIf[result]
			place, ok := places[to]
			_, has := k.result(result)
			switch {
			case !known:
			case !has:
				reject(at+"."+result, "%s has no such result%s", s.Filter, resultsOf(k))
			case to == End:
			case !ok:
				reject(at+"."+result, "there is no step %q in this flow", to)
			case place <= i:
				reject(at+"."+result, "%s is no later step: jumps lead forward", to)
			}
		}
	}
}

func resultsOf(k Kind) string {
	if len(k.Results) == 0 {
		return ": it has none"
	}
	names := make([]string, len(k.Results))
	for i, r := range k.Results {
		names[i] = r.Name
	}
	return ": it has " + strings.Join(names, ", ")
}

// NewFlow is the flow of steps that [CheckFlow] has nothing against, with the
// filters and kinds of those names. It is nil if there is nothing but the cache.
func NewFlow(steps []Step, filters map[string]*Named, kinds map[string]Kind) *Flow {
	places, cached := map[string]int{End: len(steps)}, false
	for i := range steps {
		places[steps[i].name()] = i
		cached = cached || steps[i].Filter == CacheName
	}
	if !cached {
		steps = append(steps[:len(steps):len(steps)], Step{Filter: CacheName})
		places[CacheName], places[End] = len(steps)-1, len(steps)
	}
	if len(steps) == 1 {
		return nil
	}
	f := &Flow{}
	for i := range steps {
		s := step{Named: filters[steps[i].Filter], kind: kinds[steps[i].Filter], jumps: map[string]int{}}
		if steps[i].Filter == CacheName {
			s.Named, s.kind = nil, CacheKind()
		}
		for result, to := range steps[i].JumpIf {
			s.jumps[result] = places[to]
		}
		f.steps = append(f.steps, s)
	}
	return f
}

// Observes reports whether requests must be seen by the flow though their answer
// is ready. Nil does not.
func (f *Flow) Observes() bool {
	if f == nil {
		return false
	}
	for _, s := range f.steps {
		if s.Named != nil {
			if p, ok := s.Filter.(Passive); !ok || !p.Passive() {
				return true
			}
		}
	}
	return false
}

// Preflight has the filters answer r, which asks what may be asked, in their order.
// It reports whether one did.
func (f *Flow) Preflight(w http.ResponseWriter, r *http.Request) bool {
	for _, s := range f.steps {
		if s.Named != nil {
			if p, ok := s.Filter.(Preflighter); ok && p.Preflight(w, r) {
				return true
			}
		}
	}
	return false
}

// Preflights reports whether a filter of it is a [Preflighter].
func (f *Flow) Preflights() bool {
	for _, s := range f.steps {
		if s.Named != nil {
			if _, ok := s.Filter.(Preflighter); ok {
				return true
			}
		}
	}
	return false
}

// Wrap is the flow of a hub, before next, which is the cache with what is around
// it. Nil is next itself.
func (f *Flow) Wrap(hub *Hub, next exchange.Source) exchange.Source {
	if f == nil {
		return next
	}
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		x := &Exchange{Hub: hub, Request: req}
		f.run(ctx, x, next)
		for i := len(x.after) - 1; i >= 0; i-- {
			x.after[i]()
		}
		return x.resp, x.err
	})
}

// run takes x through the flow. It is answered then.
func (f *Flow) run(ctx context.Context, x *Exchange, next exchange.Source) {
	defer func() {
		if p := recover(); p != nil {
			x.replace(nil, nil) // its content is nobody's
			panic(p)
		}
	}()
	last := ""
	for i := 0; i < len(f.steps); {
		s := &f.steps[i]
		i++
		result := ""
		if s.Named == nil {
			x.replace(next.Get(ctx, x.Request))
			result = judge(x)
		} else {
			last = s.Name
			result = s.Handle(ctx, x)
			s.count(result)
		}
		if result == "" {
			continue
		}
		if to, ok := s.jumps[result]; ok {
			i = to
		} else if r, _ := s.kind.result(result); !r.Goes {
			break
		}
	}
	if x.resp == nil && x.err == nil {
		x.Refuse(&exchange.Error{Status: http.StatusForbidden, Message: "refused by filter " + last, Reason: "filter"})
	}
}

// judge is the result of the cache.
func judge(x *Exchange) string {
	switch status := x.Status(); {
	case status >= 500 && x.err != nil && !stated(x.err):
		return "internalError"
	case status >= 500:
		return "serverError"
	case status >= 400:
		return "clientError"
	}
	return ""
}
