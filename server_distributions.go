package cacheproxy

import (
	"hash"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/apk"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/apt"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/flatpak"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/pacman"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/rpm"
)

// hashes are the protocols' own ways to prove content.
var hashes = map[string]func() hash.Hash{
	apk.Q1: func() hash.Hash { return apk.NewHash(apk.Q1) },
	apk.Q2: func() hash.Hash { return apk.NewHash(apk.Q2) },

	flatpak.File:   func() hash.Hash { return flatpak.NewHash(flatpak.File) },
	flatpak.Packed: func() hash.Hash { return flatpak.NewHash(flatpak.Packed) },
}

// The hubs of distributions have generations, but for apk's, whose index is one by itself.

func newApt(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return apt.New(o, apt.Options{Hold: time.Duration(c.Hold), Expired: c.Expired == ExpiredServe})
}

func newRPM(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return rpm.New(o, rpm.Options{
		GenerationOptions: hub.GenerationOptions{Hold: time.Duration(c.Hold)},
		Pass:              c.Metalink == MetalinkPass,
	})
}

func newApk(o hub.Options, _ *HubOptions) (hub.Hub, error) { return apk.New(o) }

func newPacman(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return pacman.New(o, pacman.Options{Hold: time.Duration(c.Hold)})
}

func newFlatpak(o hub.Options, c *HubOptions) (hub.Hub, error) {
	return flatpak.New(o, hub.GenerationOptions{Hold: time.Duration(c.Hold)}), nil
}
