package cacheproxy

import (
	"cmp"
	"slices"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
)

// quotaOf is whose a quota is.
type quotaOf struct{ hub, mirror string }

// quotas are what the mirrors of a registry's hub say of how much more they may be
// asked, in the order of their URLs.
func (m *mounted) quotas() []oci.Quota {
	h, ok := m.module.(*oci.Hub)
	if !ok {
		return nil
	}
	all := h.Quotas()
	slices.SortFunc(all, func(a, b oci.Quota) int { return cmp.Compare(a.Mirror, b.Mirror) })
	return all
}

// quotas are those of all hubs.
func (r *revision) quotas() map[quotaOf]oci.Quota {
	all := map[quotaOf]oci.Quota{}
	for _, m := range r.hubs {
		for _, q := range m.quotas() {
			all[quotaOf{m.config.Name, q.Mirror}] = q
		}
	}
	return all
}
