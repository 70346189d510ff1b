// Package hub is the contract of an ecosystem: how a client's request becomes
// an exchange, and what changes on the way back. Package hubtest has the suite
// that every hub passes.
//
// A hub only translates. It talks to nobody but the Source it is given, stores
// nothing and races nobody; freshness, sharing and verification are the cache's.
package hub

import (
	"net/http"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Hub speaks one ecosystem's protocol. It talks to nobody but next.
type Hub interface {
	// Parse maps a client's request, its path relative to the mount, to the
	// exchange it asks for. A Key's own path parses to that Key again. An error
	// matching fs.ErrNotExist: the protocol has no such path; an
	// [*exchange.Error] is answered as it says.
	Parse(r *http.Request) (*exchange.Request, error)

	// Rewrite is a Filter between clients and cache: links in indexes lead back
	// to Client.Base, index paths become the content their generation names,
	// digests go to the ledger. Artifacts pass untouched.
	Rewrite(next exchange.Source) exchange.Source
}
