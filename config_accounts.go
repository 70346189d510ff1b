package cacheproxy

import (
	"encoding/base64"
	"fmt"
	"strings"
)

// Account is one at a registry, beside an upstream's own.
type Account struct {
	Username string `yaml:"username,required"`
	Password Secret `yaml:"password,required"`
}

// accounts are the further accounts as fields Authorization (RFC 7617).
func (u *Upstream) accounts() []string {
	var all []string
	for _, a := range u.Accounts {
		all = append(all, "Basic "+base64.StdEncoding.EncodeToString([]byte(a.Username+":"+a.Password.Value())))
	}
	return all
}

// accounts checks those of the upstreams of h; at is "" for the default hub.
func (d *decoder) accounts(at string, h *Hub) {
	for i := range h.Upstream {
		u, at := &h.Upstream[i], strings.TrimPrefix(fmt.Sprintf("%s.upstream[%d].accounts", at, i), ".")
		switch {
		case len(u.Accounts) == 0:
		case h.Type != HubOCI:
			d.reject(at, "only upstreams of hubs of type oci have several accounts")
		case u.Username == "":
			d.reject(at, "without username, the first account")
		}
		for n, a := range u.Accounts {
			if strings.Contains(a.Username, ":") {
				d.reject(fmt.Sprintf("%s[%d].username", at, n), "has a colon in it")
			}
		}
	}
}
