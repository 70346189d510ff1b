package cacheproxy

import "fmt"

// transparent refuses what a hub of type http could not heed: its origin's fields
// say what is stored and for how long, any answer is a good one, and only one
// upstream is asked at a time.
func (d *decoder) transparent(at string, h *Hub) {
	if h.Type != HubHTTP {
		return
	}
	refuse := func(path string) {
		if d.lines[path] != 0 {
			d.reject(path, "hubs of type http have no such key: the origin's own fields say what holds, and one upstream is asked at a time")
		}
	}
	for _, key := range [...]string{"timeout", "policies", "stale-while-revalidate", "revalidate-budget", "negative", "validation"} {
		refuse(at + ".cache." + key)
	}
	refuse(at + ".race")
	refuse(at + ".options.absent")
	for i := range h.Upstream {
		upstream := fmt.Sprintf("%s.upstream[%d]", at, i)
		refuse(upstream + ".checkers")
		refuse(upstream + ".allowed-redirect")
	}
	if h.Rollout == RolloutDual {
		d.reject(at+".rollout", "hubs of type http have nothing to fall back to")
	}
}
