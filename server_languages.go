package cacheproxy

import (
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/composer"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/conda"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/helm"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub/rubygems"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/ledger"
)

// Further hubs of languages, and of what is deployed.

func newComposer(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return composer.New(o), nil
}

func newRubyGems(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return rubygems.New(o), nil
}

func newHelm(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return helm.New(o), nil
}

func newConda(o hub.Options, _ *ledger.Ledger, _ *HubOptions) (hub.Hub, error) {
	return conda.New(o), nil
}
