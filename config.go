// Package cacheproxy is a caching proxy between many machines and the mirrors
// they install software from. It asks several mirrors at once, gives the client
// the first good bytes while it stores them, shares downloads in flight, and
// answers from disk afterwards. Clients (apt, dnf, apk, pacman, pip, …) change
// nothing but a URL.
//
// A [Config] is what an operator may say; [Load] reads it, [New] builds a
// [Server] from it. The parts live under pkgs, which know nothing of
// configuration; package pkgs has the map.
package cacheproxy

// Config is one configuration file. The comment on a field is its manual. After
// [Load] or [Default] every field holds a checked value, defaults filled in; a
// section or value that is absent or null keeps its default. Nothing changes a
// Config once a [Server] has it.
//
// Any value may hold ${ENV} or ${ENV:-default}; a variable that is not set and
// has no default is an error.
type Config struct {
	// Where clients are served: one or a list of host:port, or unix:/path of a
	// socket. Default ":8881", every address of the machine.
	Listen []Address `yaml:"listen,single"`

	TLS TLS `yaml:"tls"`

	// Mirrors with the same content; order is their index in logs. Without any,
	// nothing but what is stored already can be served.
	Upstream []Upstream `yaml:"upstream"`

	// CIDRs and host suffixes that may resolve to, or redirect to, addresses that
	// are not public (loopback, private, link-local) beyond the configured servers
	// themselves, which always may. Default none.
	AllowedUpstreams []HostRule `yaml:"allowed-upstreams"`

	// What clients reach the proxy by: the base of the links that are written into
	// indexes, http or https. Default '': scheme and Host of each request.
	PublicURL URL `yaml:"public-url"`

	// CIDRs of the proxies in front whose Forwarded (RFC 7239) and X-Forwarded-For,
	// -Host and -Proto are believed; they must set or drop all of these. If there is
	// one, who comes by a unix socket is believed too. Default none.
	TrustedProxies []Prefix `yaml:"trusted-proxies"`

	Forward Forward `yaml:"forward"`

	Misc    Misc    `yaml:"misc"`
	Cache   Cache   `yaml:"cache"`
	Storage Storage `yaml:"storage"`
	Race    Race    `yaml:"race"`
	Limits  Limits  `yaml:"limits"`
	Log     Log     `yaml:"log"`
	Sentry  Sentry  `yaml:"sentry"`
	Admin   Admin   `yaml:"admin"`

	StatusFile StatusFile `yaml:"status-file"`
	Traces     Traces     `yaml:"traces"`

	// Every hub serves only what is stored, however old it is, and asks no mirror;
	// the rest is a 504 in the client's own format. Operators may switch it too.
	// Default false.
	Offline bool `yaml:"offline"`

	// What flows may put before hubs: who may ask, for what, how often. Default none.
	Filters []Filter `yaml:"filters"`

	// The filters that requests to every hub go through, in order, unless the hub says
	// otherwise. The cache comes last where it is not named. Default none.
	Flow []Step `yaml:"flow"`

	// Further upstream repositories, each in a name space of its own. What none of
	// them is asked for is the default hub's, as long as it has upstreams.
	Hubs []Hub `yaml:"hubs,last"`

	file    string         // that it was read from
	lines   map[string]int // of every key in it, by path
	objects *objects       // what of it is from elsewhere; nil: nothing
	secrets []string       // files that secrets were read from
}

// Problem is what is wrong with the value at path, found after Load.
func (c *Config) Problem(path, reason string) Problem {
	file, line := c.objects.located(c.file, lineOf(c.lines, path))
	return Problem{File: file, Line: line, Path: path, Reason: reason}
}

// Upstream is one mirror, or a part of one.
type Upstream struct {
	// Base URL, http or https. Its path is put before the mapped path; a trailing
	// slash makes no difference. user:password@ is the same as username and
	// password, and is not part of Server after Load. Required.
	Server URL `yaml:"server,required"`

	Path Path `yaml:"path"`

	// What an answer must look like to win the race; all must hold. A list, or one
	// mapping. After Load there is at least one; the default wants status 200.
	Checkers []Checker `yaml:"checkers,single"`

	// Every hop's target URL of a redirect must match. Absent: any public target.
	AllowedRedirect Regexp `yaml:"allowed-redirect"`

	// How early this mirror is asked for which paths. The first group that matches
	// counts; a path that none matches has priority 0.
	PriorityGroups []PriorityGroup `yaml:"priority-groups"`

	// Basic authentication (RFC 7617). Not together with token.
	Username string `yaml:"username"`
	Password Secret `yaml:"password"`

	// Further accounts at a registry (type oci), used in turn with username's: each until
	// the registry says that little of its quota is left. Default none.
	Accounts []Account `yaml:"accounts"`

	// Bearer token (RFC 6750). Not together with username.
	Token Secret `yaml:"token"`

	// Further fields sent with every request to this mirror, by name. Neither
	// framing and hop-by-hop fields nor Host; Authorization not together with
	// username or token. They do not follow a redirect to another origin.
	Headers map[string]Secret `yaml:"headers"`

	// Proxy to reach it through: http://, https:// or socks5://. Absent: what the
	// environment says (HTTP_PROXY, HTTPS_PROXY, NO_PROXY).
	Proxy URL `yaml:"proxy"`

	// PEM file of the authorities to believe instead of the system's.
	CA string `yaml:"ca"`

	// PEM files of the certificate and key shown to the mirror (mTLS). Both or neither.
	ClientCert string `yaml:"client-cert"`
	ClientKey  string `yaml:"client-key"`

	// Connections to this mirror at once; further requests wait. Default 64.
	MaxConnections int `yaml:"max-connections"`

	// Bytes a second from this mirror, all transfers together. Default 0: no limit.
	Rate Size `yaml:"rate"`

	// Which member of the hub this is a mirror of: upstreams of one name have the same
	// content, those of another have other content. Members are asked in the order of
	// their first upstreams; the first that has a file answers, indexes of packages
	// are merged. All upstreams of a hub name one, or none. Default '': one content.
	Member string `yaml:"member"`

	// Names that are this member's alone: no other is asked about them, whatever this
	// one answers. What it has under any other name is its alone too, unless shared.
	// Patterns of names, or of their prefixes that end at a slash, and likewise of
	// paths below the mount: acme-*, @acme, corp.example.org/*. Default none.
	Private []string `yaml:"private,single"`

	// Names that this member has some versions of and other members others, all of
	// which clients are to see: patterns as in private. Default none.
	Shared []string `yaml:"shared,single"`

	// Second hosts (aliases of options.files, names of options.sumdb) that are this
	// member's. No other is asked for what is private to it. Default none.
	SecondHosts []string `yaml:"second-hosts,single"`
}

// Path says which paths an upstream is asked for, and what it is asked. If
// either part is empty, it is asked for every path, unchanged.
type Path struct {
	// Matched against the request path, unanchored. No match: not asked.
	Match Regexp `yaml:"match"`

	// Template of the path on the mirror, below the base path of its server, as
	// [regexp.Regexp.Expand] knows it: $1, ${1}, ${name}. A ${name} that is no
	// group of match is a variable of the environment.
	Replace string `yaml:"replace,template"`
}

// Checker is a condition on an answer's head.
type Checker struct {
	// Accepted status codes, from 200 to 599. Default [200].
	StatusCodes []int `yaml:"status-codes"`

	// Fields that the answer must have.
	Headers []HeaderCheck `yaml:"headers"`
}

// HeaderCheck is a condition on one header field.
type HeaderCheck struct {
	Name  string `yaml:"name,required"` // of the field, in any letter case.
	Match Regexp `yaml:"match"`         // one of its values must match. Absent: the field must exist
}

// PriorityGroup gives the paths that match a priority. Mirrors of a higher one are
// asked first; the next lower ones join when they fail or are slow.
type PriorityGroup struct {
	Match    Regexp `yaml:"match,required"` // against the request path, unanchored.
	Priority int    `yaml:"priority"`       // default 0; may be negative
}

// Misc is what the original called so.
type Misc struct {
	// How much of a body a candidate must deliver (or else all of it) to decide a
	// race by bandwidth: race.mode all. Default 50 MiB.
	FirstChunkBytes Size `yaml:"first-chunk-bytes"`

	// How much is read from a mirror at a time, at most. Default 1 MiB.
	ChunkBytes Size `yaml:"chunk-bytes"`
}

// Cache says how long entries are fresh and what happens after.
type Cache struct {
	// Freshness of a path that no policy covers. Default 1h.
	Timeout Duration `yaml:"timeout"`

	// Freshness by path; the first match wins. Default none.
	Policies []Policy `yaml:"policies"`

	// How long past its freshness an entry may answer when no upstream can
	// (RFC 5861 §4). Default never: without end.
	StaleIfError Duration `yaml:"stale-if-error"`

	// How long past its freshness an entry answers at once while it is validated
	// behind (RFC 5861 §3). Default 0s: a stale entry is validated first.
	StaleWhileRevalidate Duration `yaml:"stale-while-revalidate"`

	// With a stale copy at hand: how long a request waits for upstream before the
	// copy answers and the validation goes on behind. Default 2s.
	RevalidateBudget Duration `yaml:"revalidate-budget"`

	// How long a 404 on which every healthy mirror agrees answers. 0: it is not
	// kept. Default 60s.
	Negative Duration `yaml:"negative"`

	// By which of an entry's validators mirrors are asked whether it has changed: all
	// that it has, etag or last-modified alone where the others of these mirrors are
	// wrong, or never, when the content is fetched again. Default all.
	Validation Validation `yaml:"validation"`
}

// Policy is the freshness of the paths that match.
type Policy struct {
	Match        Regexp   `yaml:"match,required"`         // against the request path, unanchored.
	RefreshAfter Duration `yaml:"refresh-after,required"` // never: immutable, not asked for again.
}

// Storage is where entries live.
type Storage struct {
	Type  StorageType  `yaml:"type"` // local, which is the default
	Local LocalStorage `yaml:"local"`
}

// LocalStorage keeps entries as plain files: /debian/x is PATH/debian/x.
type LocalStorage struct {
	// The directory, made if it is missing, for one process alone. Relative to the
	// working directory. Default ./data.
	Path string `yaml:"path"`

	// Name of the files of transfers under way, where * is random. They live in a
	// directory of their own that clients cannot reach. Default temp.*
	TemporaryFilePattern string `yaml:"temporary-file-pattern"`

	Accel Accel `yaml:"accel"`

	// Space for entries; the least recently used go first. Bytes, or a share of
	// the file system; 0 is without bound. Default 80%.
	MaxSize Space `yaml:"max-size"`

	// Space to leave free on the file system; below it, answers pass through
	// unstored. Default 5%.
	MinFree Space `yaml:"min-free"`

	// lazy: entries are published at once and synced in groups within a second,
	// proved before their first use after an unclean stop. strict: synced before
	// they are published. Default lazy.
	Durability Durability `yaml:"durability"`

	// Small objects that are asked for again and again are answered from memory,
	// without the file being looked at for up to two seconds. This is how much of it;
	// 0: none. A quarter of GOMEMLIMIT at most, where that is set. Default 128MiB.
	Memory Size `yaml:"memory"`
}

// Accel lets a web server in front send stored files itself.
type Accel struct {
	// Request field in which the web server names the internal prefix under which
	// it has the storage, e.g. X-Accel-Path: /internal. Default '': off.
	EnableByHeader string `yaml:"enable-by-header"`

	// The response fields that say prefix and path of the file. Default
	// [X-Sendfile, X-Accel-Redirect].
	RespondWithHeaders []string `yaml:"respond-with-headers"`

	// Peers that may use it, as CIDRs or addresses; from anyone else the field is
	// dropped. Default [127.0.0.0/8, ::1/128].
	Trusted []Prefix `yaml:"trusted"`
}

// Race says how mirrors are played against each other.
type Race struct {
	// adaptive: the best mirrors of a priority group by their live record are asked,
	// the next ones when those are late or fail, and the first good head is streamed. all: as in the original, the first to deliver
	// misc.first-chunk-bytes wins, so bandwidth decides and the client waits for
	// it. ordered: one after another. Default adaptive.
	Mode RaceMode `yaml:"mode"`

	// How many mirrors adaptive asks at once while none of them is known; after, it
	// is the best one by its record. Default 3.
	Width int `yaml:"width"`

	// When adaptive asks the next mirror as well, because those that were asked say
	// nothing. Of a known mirror its record says when it is late. Default 250ms.
	Stagger Duration `yaml:"stagger"`

	// Go on at the same offset from another mirror when the chosen one dies, stalls
	// or crawls, where a digest or an equal strong validator and length vouch for
	// the content. Default true.
	Switch bool `yaml:"switch"`

	// Large bodies come from several mirrors at once. Needs switch.
	Stripe Stripe `yaml:"stripe"`
}

// Stripe says which bodies come in parts from several mirrors of the same
// priority, where a digest or an equal strong entity tag vouches for the content.
type Stripe struct {
	MinSize Size `yaml:"min-size"` // of such a body; 0: none comes in parts. Default 64MiB
	Part    Size `yaml:"part"`     // asked of a mirror at once, at most. At least 64KiB; default 8MiB
	Width   int  `yaml:"width"`    // mirrors at once. At least 2; default 4
}

// Limits bounds what others may make the proxy do. Durations are more than zero
// and end. There is no limit on the time of a whole transfer: the ones on
// progress stand for it.
type Limits struct {
	RequestLine    Size `yaml:"request-line"`    // longer is 414. Default 8KiB
	RequestHeaders Size `yaml:"request-headers"` // larger is 431. Default 64KiB
	RequestFields  int  `yaml:"request-fields"`  // more is 431. Default 100
	Ranges         int  `yaml:"ranges"`          // of one request; more gets the whole. Default 16

	// Connections of clients at once; more are answered 503, those that only begin
	// TLS closed. Default 0: half of the files that the process may have open.
	Connections int `yaml:"connections"`

	// Of those, from one address that is none of trusted-proxies. Default 256.
	ConnectionsPerClient int `yaml:"connections-per-client"`

	HTTP2Streams int `yaml:"http2-streams"` // requests at a time of one HTTP/2 connection. Default 100

	Fills Fills `yaml:"fills"`

	ClientHeaderTimeout Duration `yaml:"client-header-timeout"` // to send a request's head. Default 10s
	ClientIdleTimeout   Duration `yaml:"client-idle-timeout"`   // between requests. Default 75s
	ClientWriteTimeout  Duration `yaml:"client-write-timeout"`  // without progress ends the connection. Default 60s
	ClientMinRate       Size     `yaml:"client-min-rate"`       // a second, over 60 s; slower ends it too; 0: off. Default 1KiB

	UpstreamDialTimeout   Duration `yaml:"upstream-dial-timeout"`   // to connect. Default 3s
	UpstreamTLSTimeout    Duration `yaml:"upstream-tls-timeout"`    // for the handshake. Default 5s
	UpstreamHeaderTimeout Duration `yaml:"upstream-header-timeout"` // to the end of the answer's head. Default 15s
	UpstreamIdleTimeout   Duration `yaml:"upstream-idle-timeout"`   // between two reads of a body. Default 30s
	UpstreamMinRate       Size     `yaml:"upstream-min-rate"`       // a second, over 60 s; slower is a failure; 0: off. Default 1KiB
	UpstreamHeaders       Size     `yaml:"upstream-headers"`        // of an answer. Default 64KiB
	Redirects             int      `yaml:"redirects"`               // hops that are followed; 0: none. Default 5
	UpstreamRate          Size     `yaml:"upstream-rate"`           // a second from all mirrors together; what is stored is never limited. Default 0: no limit
	Object                Size     `yaml:"object"`                  // largest body that is fetched. Default 50GiB

	// Other values of upstream-rate for hours of the day, in local time. The first
	// that matches counts. Default none.
	UpstreamHours []HourRate `yaml:"upstream-hours"`

	// How long requests under way may go on once the process is asked to stop.
	// Default 30s.
	Drain Duration `yaml:"drain"`

	// How long connections may go on in a process that another one has taken over
	// from (SIGUSR2), before it drains. Default 1h.
	Upgrade Duration `yaml:"upgrade"`
}

// Fills bound what is asked of mirrors at a time. What finds no room waits for it,
// for 10 s at most: then it is a 503 with Retry-After. One that several clients
// share counts as that of the first.
type Fills struct {
	All       int `yaml:"all"`        // default 256
	PerMirror int `yaml:"per-mirror"` // default 64; those that wait for it may go to another mirror
	PerClient int `yaml:"per-client"` // an address, as trusted-proxies say it. Default 16
}

// Log is what the process says of itself.
type Log struct {
	Level  Level     `yaml:"level"`  // trace, debug, info, warn or error. Default info
	Format LogFormat `yaml:"format"` // text or json. Default text
	Access bool      `yaml:"access"` // two lines a request, at its start and its end; only the latter if it is answered from memory. Default true
	File   string    `yaml:"file"`   // appended to; default '': standard error. Lines below warn are up to 0.1 s late
}

// Sentry is where errors are reported.
type Sentry struct {
	DSN Secret `yaml:"dsn"` // default '': nowhere
}

// HourRate is upstream-rate for a part of the day.
type HourRate struct {
	From Clock `yaml:"from,required"` // 08:00
	To   Clock `yaml:"to,required"`   // 18:00, which is not part of it; before From: past midnight
	Rate Size  `yaml:"rate"`          // a second; 0: no limit
}
