// Package pkgs holds the parts of the proxy, and this map of them.
//
// A request becomes a value, exchange.Request; a chain of Sources answers it
// with a value, exchange.Response; the edge writes that out. The group of
// upstreams is a Source; the cache and a hub's rewriting are Filters around one.
// Read them in this order:
//
//	exchange    the vocabulary: Source, Filter, Request, Entry, Response, Outcome
//	freshness   the arithmetic of RFC 9111: how far an entry may be used
//	ledger      what indexes taught: size and digest of content to come
//	hub         the contract of an ecosystem's protocol, and what most of them need; hub/files is the plain one, hub/http any origin's, hub/template the one to copy
//	format      readers of foreign formats that no protocol owns, a package each: format/rds, format/msgpack, format/yaml, ...
//	store       the contract of content at rest; store/disk keeps plain files
//	http1       plain requests over kept connections, without net/http's goroutines
//	upstream    mirrors: the race between them, their records, switches and stripes; members, which have different content
//	cache       look up, join or start a flight, validate: the heart
//	front       between connections and net/http: the guard of what no two readers must see differently, and hot hits
//	edge        HTTP toward clients: guard, Parse, Get, respond
//	filter      what may be put before a hub: who asks, for what, how often; filter/template is the one to copy
//	middleware  net/http around the edge: recover, handlerctx, httplog
//	observe     what those who watch see: error reports, metrics, traces
//	welcome     what people who only use the cache see: a page, and a script that sets clients up
//	admin       HTTP toward operators, on a listener of its own
//	proxytest   scripts for tests: what a client sees when origins misbehave
//
// A GET comes in through middleware to the edge, which lets the hub parse it, and
// asks the flow of filters, if there is one, around the hub's Rewrite around the
// cache around the group of upstreams; a hub that decides what may replace what is
// stored has its Gate between those two. On a miss the cache starts a flight: one transfer that writes a store's Draft, which any
// number of clients follow as it grows, and that is committed when it is whole.
//
// Imports point down and siblings never see each other: layers_test.go has the
// table. Nothing here knows the configuration; the root package connects the parts.
package pkgs
