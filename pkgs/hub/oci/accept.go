package oci

import (
	"mime"
	"net/http"
	"strings"
)

// A typeSet is types of manifests, a bit for each of types.
type typeSet uint8

// types are the manifests there are, in the order in which registries are told
// of them: the old ones last, so that nothing is converted into them.
var types = [...]struct{ mediaType, short string }{
	ociIndex:       {"application/vnd.oci.image.index.v1+json", "index"},
	dockerList:     {"application/vnd.docker.distribution.manifest.list.v2+json", "list"},
	ociManifest:    {"application/vnd.oci.image.manifest.v1+json", "manifest"},
	dockerManifest: {"application/vnd.docker.distribution.manifest.v2+json", "v2"},
	dockerSigned:   {"application/vnd.docker.distribution.manifest.v1+prettyjws", "v1s"},
	dockerOld:      {"application/vnd.docker.distribution.manifest.v1+json", "v1"},
}

const (
	ociIndex = iota
	dockerList
	ociManifest
	dockerManifest
	dockerSigned
	dockerOld
)

const (
	allTypes typeSet = 1<<len(types) - 1
	inUse    typeSet = 1<<ociIndex | 1<<dockerList | 1<<ociManifest | 1<<dockerManifest
)

// accepted is the set that a client's Accept fields name together: some send one
// field a type. Who names all types in use, any type, or none of these, accepts
// all; so most clients share one variant.
func accepted(fields []string) typeSet {
	var set typeSet
	for _, field := range fields {
		for member := range strings.SplitSeq(field, ",") {
			mediaType, parameters, _ := strings.Cut(member, ";")
			mediaType = strings.TrimSpace(mediaType)
			if q := strings.TrimSpace(parameters); strings.HasPrefix(q, "q=0") && strings.Trim(q[3:], ".0") == "" {
				continue // "not acceptable" (RFC 9110 §12.4.2)
			}
			if mediaType == "*/*" || mediaType == "application/*" {
				return allTypes
			}
			set |= setOf(mediaType)
		}
	}
	if set == 0 || set&inUse == inUse {
		return allTypes
	}
	return set
}

// setOf is the set of one media type; empty if it is none of types.
func setOf(mediaType string) typeSet {
	for i := range types {
		if strings.EqualFold(mediaType, types[i].mediaType) {
			return 1 << i
		}
	}
	return 0
}

// excludes says that content of this Content-Type is a manifest that is not in s.
func (s typeSet) excludes(contentType string) bool {
	mediaType, _, err := mime.ParseMediaType(contentType)
	t := setOf(mediaType)
	return err == nil && t != 0 && t&s == 0
}

// variant is the set in a key; "" for all.
func (s typeSet) variant() string {
	if s == allTypes {
		return ""
	}
	return s.join("+", func(i int) string { return types[i].short })
}

// acceptAll is what registries are told by default. They need the types by name:
// "*/*" alone is a 404 to the reference registry.
var acceptAll = allTypes.join(", ", func(i int) string { return types[i].mediaType })

// header is a request header that accepts s.
func (s typeSet) header() http.Header {
	if s == allTypes {
		return http.Header{"Accept": {acceptAll}}
	}
	return http.Header{"Accept": {s.join(", ", func(i int) string { return types[i].mediaType })}}
}

func (s typeSet) join(separator string, text func(i int) string) string {
	var all []string
	for i := range types {
		if s&(1<<i) != 0 {
			all = append(all, text(i))
		}
	}
	return strings.Join(all, separator)
}
