package cacheproxy

import (
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/cargo"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/composer"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/conda"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/cran"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/files"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/gomod"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/helm"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/hex"
	httphub "git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/http"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/maven"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/npm"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/nuget"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/oci"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/pub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/pypi"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/rubygems"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/terraform"
)

// A module is what a type of hub runs.
type module struct {
	about string        // what it is for, in a few words
	ttl   time.Duration // of its mutable paths; 0: cache.timeout alone says
	new   func(hub.Options, *HubOptions) (hub.Hub, error)
}

// of is the new of a type that has no options of its own.
func of[H hub.Hub](build func(hub.Options) H) func(hub.Options, *HubOptions) (hub.Hub, error) {
	return func(o hub.Options, _ *HubOptions) (hub.Hub, error) { return build(o), nil }
}

// hubs is the table of hub types.
var hubs = map[HubType]module{
	HubFiles: {"plain trees of files: distributions, releases, images", 0, newFiles},
	HubHTTP:  {"any origin, as its own fields say (RFC 9111)", 0, of(httphub.New)},
	"maven":  {"Maven repositories", 10 * time.Minute, of(maven.New)},
	"cargo":  {"Rust crates by a sparse index", 5 * time.Minute, of(cargo.New)},
	HubOCI:   {"container registries", oci.TagTTL, newOCI},
	"npm":    {"npm registries", 5 * time.Minute, of(npm.New)},
	"nuget":  {"NuGet feeds of version 3", 5 * time.Minute, of(nuget.New)},
	"cran":   {"R packages: CRAN and its kin", 5 * time.Minute, newCRAN},
	"pypi":   {"Python package indexes", 10 * time.Minute, of(pypi.New)},
	"go":     {"Go modules and checksum databases", 5 * time.Minute, newGo},
	"apt":    {"Debian-style repositories", 5 * time.Minute, newApt},
	"rpm":    {"RPM repositories", 5 * time.Minute, newRPM},
	"apk":    {"Alpine's repositories", 5 * time.Minute, newApk},
	"pacman": {"pacman's repositories", 5 * time.Minute, newPacman},
	"pub":    {"Dart's and Flutter's packages", 5 * time.Minute, of(pub.New)},
	"hex":    {"Erlang's and Elixir's packages", 5 * time.Minute, of(hex.New)},

	"flatpak":  {"OSTree repositories, as those of Flatpak", 5 * time.Minute, newFlatpak},
	"composer": {"Composer repositories of PHP packages", 5 * time.Minute, of(composer.New)},
	"rubygems": {"gem repositories", 5 * time.Minute, of(rubygems.New)},
	"helm":     {"Helm chart repositories", 5 * time.Minute, of(helm.New)},
	"conda":    {"conda channels", 5 * time.Minute, of(conda.New)},

	"terraform": {"Terraform's providers", 5 * time.Minute, newTerraform},
}

// defaultHub is the name of the hub that the configuration's first sections
// describe; its files lie at the top of the storage.
const defaultHub = "default"

func newFiles(o hub.Options, c *HubOptions) (hub.Hub, error) {
	opts := files.Options{Name: o.Name, Policies: o.Policies, IgnoreQuery: c.IgnoreQuery}
	if o.Name != defaultHub { // that one is the original's: it looks into nothing
		opts.Hub = &o
	}
	return files.New(opts), nil
}

func newGo(o hub.Options, c *HubOptions) (hub.Hub, error) {
	opts := gomod.Options{Private: c.Private, Verify: c.Verify == VerifySumdb}
	for _, db := range c.Sumdb {
		opts.Sumdb = append(opts.Sumdb, db.Name)
	}
	return gomod.New(o, opts)
}

func newOCI(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return oci.New(o, oci.Options{Library: c.Library})
}

func newCRAN(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return cran.New(o, cran.Options{ByUserAgent: c.ByUserAgent}), nil
}

func newTerraform(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return terraform.New(o, terraform.Options{Hosts: c.Hosts}), nil
}
