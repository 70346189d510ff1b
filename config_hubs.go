package cacheproxy

import (
	"errors"
	"maps"
	"slices"
)

// Hub is one upstream repository beside the default hub, which the sections
// upstream, cache and race of the whole describe.
type Hub struct {
	// Names the storage (DATA/NAME), metrics and logs: lower-case letters, digits and
	// . _ - within. Required, unique, and not "default".
	Name string `yaml:"name,required"`

	// The protocol that is spoken. Default files, a plain tree.
	Type HubType `yaml:"type"`

	// Where it is mounted: a path that begins with a slash, and everything below it.
	// Default /NAME.
	Path string `yaml:"path"`

	// Host names that mean this hub, whatever the path, which then has nothing of
	// the mount before it: one or a list, without scheme and port. Default none.
	Hosts []string `yaml:"hosts,single"`

	// modular: type is what runs. dual: likewise, and where it fails by a fault of
	// its own, the file is answered as the mirror has it. legacy-only: files runs,
	// whatever type says. Default modular; for the type files it is always legacy-only.
	Rollout Rollout `yaml:"rollout"`

	// Mirrors with the same content, as for the default hub.
	Upstream []Upstream `yaml:"upstream"`

	// Overrides the section of the whole, key by key. After Load it is complete.
	Cache Cache `yaml:"cache"`

	// Overrides the section of the whole, key by key. After Load it is complete.
	Race Race `yaml:"race"`

	// This hub serves only what is stored, as offline of the whole says of all.
	// Default false.
	Offline bool `yaml:"offline"`

	// Overrides the flow of the whole; [] is none.
	Flow []Step `yaml:"flow"`

	Options HubOptions `yaml:"options"`
}

// Module is the type that runs.
func (h *Hub) Module() HubType {
	if h.Rollout == RolloutLegacyOnly {
		return HubFiles
	}
	return h.Type
}

func (h *Hub) setDefaults(c *Config) {
	h.Type, h.Rollout = HubFiles, RolloutModular
	h.Cache, h.Race, h.Flow = c.Cache, c.Race, c.Flow
}

// Served are all hubs: the default one, unless it has no upstream and there are
// others, and those of the section hubs.
func (c *Config) Served() []Hub {
	var all []Hub
	if len(c.Upstream) > 0 || len(c.Hubs) == 0 {
		h := Hub{Name: defaultHub, Upstream: c.Upstream}
		h.setDefaults(c)
		h.Path, h.Rollout = "/", RolloutLegacyOnly
		all = append(all, h)
	}
	return append(all, c.Hubs...)
}

// HubOptions are what a hub's type lets an operator choose. One that the type
// does not have is an error; the tag hub names the types that have it, all if
// there is none.
type HubOptions struct {
	// Second hosts that indexes link to, by alias: their base URLs. Links below one
	// become /_f/ALIAS/… of the hub. Default none.
	Files map[string]URL `yaml:"files,omitzero" hub:"pypi,npm,cargo,composer,helm,conda,nuget,pub,terraform"`

	// Second hosts that are not in files are learned from the indexes of the mirrors,
	// and remembered: any public one that their allowed-redirect admits. Default false.
	LearnFiles bool `yaml:"learn-files,omitzero" hub:"pypi,npm,cargo,composer,helm,conda,nuget,pub,terraform"`

	// What is below src/contrib depends on the release of R and the system that clients
	// name in User-Agent, which goes upstream: for servers that send binaries there.
	// Default false.
	ByUserAgent bool `yaml:"by-user-agent,omitzero" hub:"cran"`

	// The query of a request neither selects content nor goes upstream. Default false.
	// Other types know where a query means something.
	IgnoreQuery bool `yaml:"ignore-query,omitzero" hub:"files"`

	// Further statuses that mean "there is no such file" if every mirror says so,
	// besides 404 and 410: [403, 404] for object stores that may not be listed.
	Absent []int `yaml:"absent"`

	// How long a new generation of indexes may wait for its parts to be had before
	// it is published without them: more than nothing. Default 10m. The index of
	// apk has no parts.
	Hold Duration `yaml:"hold,omitzero" hub:"apt,rpm,pacman,flatpak"`

	// serve: an index past its Valid-Until is answered though no upstream can be asked
	// for another. Default '': 503, on which clients go on with what they have.
	Expired Expired `yaml:"expired,omitzero" hub:"apt"`

	// proxy: metalinks name this hub alone. pass: they come as the mirror has them.
	// Default proxy.
	Metalink Metalink `yaml:"metalink,omitzero" hub:"rpm"`

	// Checksum databases that are passed on below /sumdb/NAME/, each a name, whose
	// base URL is https://NAME, or {name, url}. Default none.
	Sumdb []Sumdb `yaml:"sumdb,single,omitzero" hub:"go"`

	// Modules that nobody is asked about, neither mirrors nor checksum databases: 404
	// at once, on which go asks the next of GOPROXY. Patterns of path prefixes, as in
	// GOPRIVATE. Default none.
	Private []string `yaml:"private,single,omitzero" hub:"go"`

	// sumdb: modules are checked by the first checksum database before they are
	// stored. Default '': only by what clients have asked it.
	Verify Verify `yaml:"verify,omitzero" hub:"go"`

	// Registries that clients may name in ?ns= to mean this hub, besides its hosts and
	// the upstreams that are registries themselves, below no path. Default none.
	NS []string `yaml:"ns,single,omitzero" hub:"oci"`

	// This hub answers /v2/ where nothing else in the request names one. Default false.
	Default bool `yaml:"default,omitzero" hub:"oci"`

	// Images whose name is one word are those below library/, where the registry has
	// them: alpine is library/alpine. Default false.
	Library bool `yaml:"library,omitzero" hub:"oci"`

	// Hosts that may give out tokens beside the upstreams themselves. Default none.
	AuthHosts []string `yaml:"auth-hosts,single,omitzero" hub:"oci"`

	// Provider hosts whose registry the upstreams are, each at the address that the
	// host's .well-known/terraform.json has as providers.v1. Default none: the upstreams
	// are network mirrors.
	Hosts []string `yaml:"hosts,single,omitzero" hub:"terraform"`
}

// Sumdb is a checksum database.
type Sumdb struct {
	Name string `yaml:"name,required"` // as clients know it: sum.example.org
	URL  URL    `yaml:"url"`           // its base. Default https://NAME
}

func (s *Sumdb) setShort(name string) error {
	if name == "" {
		return errors.New("empty")
	}
	s.Name = name
	return nil
}

// HubType is a kind of hub.
type HubType string

// HubFiles is the type of a plain tree.
const HubFiles HubType = "files"

// HubHTTP is the type of a transparent cache.
const HubHTTP HubType = "http"

func (t *HubType) set(s string) error {
	return setOneOf(t, s, slices.Sorted(maps.Keys(hubs))...)
}

// Rollout says what runs of a hub's type.
type Rollout string

// The rollouts.
const (
	RolloutModular    Rollout = "modular"
	RolloutDual       Rollout = "dual"
	RolloutLegacyOnly Rollout = "legacy-only"
)

func (r *Rollout) set(s string) error {
	return setOneOf(r, s, RolloutModular, RolloutDual, RolloutLegacyOnly)
}

// Expired is what becomes of an index past its date.
type Expired string

// ExpiredServe is the only thing that can.
const ExpiredServe Expired = "serve"

func (e *Expired) set(s string) error { return setOneOf(e, s, "", ExpiredServe) }

// Metalink is what becomes of a metalink.
type Metalink string

// What can become of a metalink.
const (
	MetalinkProxy Metalink = "proxy"
	MetalinkPass  Metalink = "pass"
)

func (m *Metalink) set(s string) error { return setOneOf(m, s, MetalinkProxy, MetalinkPass) }

// Verify is by what modules are checked.
type Verify string

// VerifySumdb is by a checksum database.
const VerifySumdb Verify = "sumdb"

func (v *Verify) set(s string) error { return setOneOf(v, s, "", VerifySumdb) }
