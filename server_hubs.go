package cacheproxy

import (
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/cargo"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/cran"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/files"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/gomod"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hex"
	httphub "git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/http"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/maven"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/npm"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/nuget"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/pub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/pypi"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/terraform"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// A module is what a type of hub runs.
type module struct {
	about string        // what it is for, in a few words
	ttl   time.Duration // of its mutable paths; 0: cache.timeout alone says
	new   func(hub.Options, *ledger.Ledger, *HubOptions) (hub.Hub, error)
}

// hubs is the table of hub types.
var hubs = map[HubType]module{
	HubFiles: {"plain trees of files: distributions, releases, images", 0, newFiles},
	HubHTTP:  {"any origin, as its own fields say (RFC 9111)", 0, newHTTP},
	"maven":  {"Maven repositories", 10 * time.Minute, newMaven},
	"cargo":  {"Rust crates by a sparse index", 5 * time.Minute, newCargo},
	HubOCI:   {"container registries", oci.TagTTL, newOCI},
	"npm":    {"npm registries", 5 * time.Minute, newNPM},
	"nuget":  {"NuGet feeds of version 3", 5 * time.Minute, newNuGet},
	"cran":   {"R packages: CRAN and its kin", 5 * time.Minute, newCRAN},
	"pypi":   {"Python package indexes", 10 * time.Minute, newPyPI},
	"go":     {"Go modules and checksum databases", 5 * time.Minute, newGo},
	"apt":    {"Debian-style repositories", 5 * time.Minute, newApt},
	"rpm":    {"RPM repositories", 5 * time.Minute, newRPM},
	"apk":    {"Alpine's repositories", 5 * time.Minute, newApk},
	"pacman": {"pacman's repositories", 5 * time.Minute, newPacman},
	"pub":    {"Dart's and Flutter's packages", 5 * time.Minute, newPub},
	"hex":    {"Erlang's and Elixir's packages", 5 * time.Minute, newHex},

	"flatpak":  {"OSTree repositories, as those of Flatpak", 5 * time.Minute, newFlatpak},
	"composer": {"Composer repositories of PHP packages", 5 * time.Minute, newComposer},
	"rubygems": {"gem repositories", 5 * time.Minute, newRubyGems},
	"helm":     {"Helm chart repositories", 5 * time.Minute, newHelm},
	"conda":    {"conda channels", 5 * time.Minute, newConda},

	"terraform": {"Terraform's providers", 5 * time.Minute, newTerraform},
}

// defaultHub is the name of the hub that the configuration's first sections
// describe; its files lie at the top of the storage.
const defaultHub = "default"

func newFiles(o hub.Options, _ *ledger.Ledger, c *HubOptions) (hub.Hub, error) {
	opts := files.Options{Name: o.Name, Policies: o.Policies, IgnoreQuery: c.IgnoreQuery}
	if o.Name != defaultHub { // that one is the original's: it looks into nothing
		opts.Hub = &o
	}
	return files.New(opts), nil
}

func newHTTP(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return httphub.New(o), nil
}

func newGo(o hub.Options, _ *ledger.Ledger, c *HubOptions) (hub.Hub, error) {
	opts := gomod.Options{Private: c.Private, Verify: c.Verify == VerifySumdb}
	for _, db := range c.Sumdb {
		opts.Sumdb = append(opts.Sumdb, db.Name)
	}
	return gomod.New(o, opts)
}

func newOCI(o hub.Options, _ *ledger.Ledger, c *HubOptions) (hub.Hub, error) {
	return oci.New(o, oci.Options{Library: c.Library})
}

func newNPM(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return npm.New(o), nil
}

func newCRAN(o hub.Options, _ *ledger.Ledger, c *HubOptions) (hub.Hub, error) {
	return cran.New(o, cran.Options{ByUserAgent: c.ByUserAgent}), nil
}

func newNuGet(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return nuget.New(o), nil
}

func newPyPI(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return pypi.New(o), nil
}

func newCargo(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return cargo.New(o), nil
}

func newPub(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return pub.New(o), nil
}

func newTerraform(o hub.Options, _ *ledger.Ledger, c *HubOptions) (hub.Hub, error) {
	return terraform.New(o, terraform.Options{Hosts: c.Hosts}), nil
}

func newHex(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return hex.New(o), nil
}

func newMaven(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return maven.New(o), nil
}
