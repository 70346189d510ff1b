package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A component is a part of an SBOM of CycloneDX, with parts of its own.
type component struct {
	PURL   string `json:"purl"`
	Hashes []struct {
		Alg     string `json:"alg"`
		Content string `json:"content"`
	} `json:"hashes"`
	Components []component `json:"components"`
}

func readCycloneDX(text []byte) (all []want, err error) {
	var top component
	if err := json.Unmarshal(text, &top); err != nil {
		return nil, err
	}
	return top.wants(nil, 0)
}

func (c *component) wants(all []want, depth int) ([]want, error) {
	if depth > 100 {
		return nil, errors.New("components a hundred deep")
	}
	if c.PURL != "" {
		w, err := readPURL(c.PURL)
		if err != nil {
			return nil, err
		}
		for _, h := range c.Hashes {
			// Of a crate it is the file's; of others it may be of something else.
			if h.Alg == "SHA-256" && w.kind == "cargo" {
				w.digests = []cacheproxy.Digest{cacheproxy.Digest("sha256:" + strings.ToLower(h.Content))}
			}
		}
		all = append(all, w)
	}
	for i := range c.Components {
		var err error
		if all, err = c.Components[i].wants(all, depth+1); err != nil {
			return nil, err
		}
	}
	return all, nil
}

func readSPDX(text []byte) (all []want, err error) {
	var doc struct {
		Packages []struct {
			Refs []struct {
				Type    string `json:"referenceType"`
				Locator string `json:"referenceLocator"`
			} `json:"externalRefs"`
			Checksums []struct {
				Algorithm string `json:"algorithm"`
				Value     string `json:"checksumValue"`
			} `json:"checksums"`
		} `json:"packages"`
	}
	if err := json.Unmarshal(text, &doc); err != nil {
		return nil, err
	}
	for _, p := range doc.Packages {
		for _, r := range p.Refs {
			if r.Type != "purl" {
				continue
			}
			w, err := readPURL(r.Locator)
			if err != nil {
				return nil, err
			}
			for _, c := range p.Checksums {
				if c.Algorithm == "SHA256" && w.kind == "cargo" {
					w.digests = []cacheproxy.Digest{cacheproxy.Digest("sha256:" + strings.ToLower(c.Value))}
				}
			}
			all = append(all, w)
		}
	}
	return all, nil
}

// purlType is the type of hub that has packages of a purl's type.
func purlType(s string) cacheproxy.HubType {
	switch s {
	case "golang":
		return "go"
	case "gem":
		return "rubygems"
	}
	return cacheproxy.HubType(s)
}

// readPURL reads pkg:TYPE/NAMESPACE/NAME@VERSION?QUALIFIERS#SUBPATH
// (https://github.com/package-url/purl-spec).
func readPURL(s string) (w want, err error) {
	bad := fmt.Errorf("%.200q is no package URL", s)
	rest, ok := strings.CutPrefix(s, "pkg:")
	if !ok {
		return w, bad
	}
	rest, _, _ = strings.Cut(rest, "#")
	rest, qualifiers, _ := strings.Cut(rest, "?")
	kind, rest, ok := strings.Cut(strings.TrimLeft(rest, "/"), "/")
	if !ok || kind == "" {
		return w, bad
	}
	name, version := rest, ""
	if i := strings.LastIndexByte(rest, '@'); i > 0 { // at 0 it is that of a scope
		name, version = rest[:i], rest[i+1:]
	}
	if name, err = url.PathUnescape(strings.Trim(name, "/")); err != nil || name == "" {
		return w, bad
	}
	if version, err = url.PathUnescape(version); err != nil {
		return w, bad
	}
	w = want{kind: purlType(strings.ToLower(kind)), name: name, version: version}
	values, _ := url.ParseQuery(qualifiers)
	switch w.kind {
	case "rubygems":
		if platform := values.Get("platform"); platform != "" && platform != "ruby" && version != "" {
			w.version += "-" + platform
		}
	case "hex":
		if organisation, name, ok := strings.Cut(name, "/"); ok {
			w.name, w.url = name, "/repos/"+url.PathEscape(organisation)
		}
	case "maven":
		i := strings.LastIndexByte(name, '/')
		if i < 0 {
			return w, bad
		}
		w.name, w.url = name[:i]+":"+name[i+1:], values.Get("type")
	}
	return w, nil
}
