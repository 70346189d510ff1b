package composer

import (
	"cmp"
	"context"
	"crypto/md5"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

const devSuffix = "~dev"

// A reference that is no hexadecimal number is its MD5 in a mirror's URL, and so is
// a version with a slash.
var distFile = regexp.MustCompile(`^([0-9a-f]*)\.([a-z0-9]+)$`)

// parseDist makes a request of /_d/VENDOR/NAME/VERSION/REFERENCE.TYPE. Without a
// reference nothing says that the content stays.
func parseDist(asked hub.Asked) (*exchange.Request, error) {
	parts := strings.Split(asked.Path[len(distPrefix):], "/")
	if len(parts) != 4 || parts[2] == "" || !packageName.MatchString(parts[0]+"/"+parts[1]) || !distFile.MatchString(parts[3]) {
		return nil, hub.NoPath(asked.Path)
	}
	kind := hub.Kind{Class: freshness.Immutable}
	if parts[3][0] == '.' {
		kind = hub.Kind{TTL: ttl}
	}
	req := asked.Request(kind)
	req.Package, req.Version = parts[0]+"/"+parts[1], hub.Name(parts[2])
	return req, nil
}

// A dist is what a document says of one archive.
type dist struct{ url, kind, reference, shasum string }

// A version is what a document says of one.
type version struct {
	pkg, name, normalized string
	dist                  dist
}

// path is where the version's dist is below the hub, as Composer makes it of the
// mirror's template; "" if it has none, or no normalized version.
func (v *version) path() string {
	if v.dist.url == "" || v.normalized == "" || v.pkg == "" {
		return ""
	}
	normalized := v.normalized
	if strings.Contains(normalized, "/") {
		normalized = md5Of(normalized)
	}
	path, ok := hub.Canonical(distPrefix + strings.ToLower(v.pkg) + "/" + normalized + "/" + v.dist.ref() + "." + v.dist.kind)
	if !ok {
		return ""
	}
	return path
}

// ref is the reference as mirrors' URLs have it.
func (d *dist) ref() string {
	if strings.Trim(d.reference, "0123456789abcdef") != "" {
		return md5Of(d.reference)
	}
	return d.reference
}

func md5Of(s string) string {
	sum := md5.Sum([]byte(s))
	return hex.EncodeToString(sum[:])
}

// versions reads a document, or packages.json with packages in it, and calls f
// with each version of each package. What a version does not say it has of the one
// before, which is how documents are minified; where they are not, versions say
// everything that is asked for here. An error of f ends it.
func versions(src io.Reader, f func(v *version) error) error {
	return hub.CopyJSON(io.Discard, src, versionRules(f))
}

// versionRules are the rules of versions, which change nothing.
func versionRules(f func(v *version) error) hub.JSONRules {
	var v version
	var d dist
	name, normalized := "", "" // that this version has said
	const each = "packages/*/*/"
	return hub.JSONRules{
		each + "name":               hub.JSONInto(&v.pkg),
		each + "version":            hub.JSONInto(&name),
		each + "version_normalized": hub.JSONInto(&normalized),
		each + "dist/url":           hub.JSONInto(&d.url),
		each + "dist/type":          hub.JSONInto(&d.kind),
		each + "dist/reference":     hub.JSONInto(&d.reference),
		each + "dist/shasum":        hub.JSONInto(&d.shasum),
		each + "dist": func(value []byte) ([]byte, error) { // "__unset", or null
			v.dist = dist{}
			return value, nil
		},
		each + "dist/": hub.JSONEnd(func() error {
			v.dist, d = d, dist{}
			return nil
		}),
		each: hub.JSONEnd(func() error {
			if name != "" || normalized != "" {
				v.name, v.normalized = cmp.Or(name, v.name), normalized
			}
			name, normalized = "", ""
			return f(&v)
		}),
		"packages/*/": hub.JSONEnd(func() error {
			v = version{}
			return nil
		}),
	}
}

// facts teaches what a document says of the content of dists.
func facts(r io.Reader, teach hub.Teach) error {
	return versions(r, tell(teach))
}

// tell teaches what a document says of the content of a version's dist.
func tell(teach hub.Teach) func(v *version) error {
	return func(v *version) error {
		if digest, err := exchange.ParseDigest("sha1:" + strings.ToLower(v.dist.shasum)); err == nil {
			if path := v.path(); path != "" {
				teach(path, exchange.Fact{Digest: digest})
			}
		}
		return nil
	}
}

// Gate sends requests for dists where the package's document says.
func (h *Hub) Gate(next, cached exchange.Source) exchange.Source {
	return exchange.SourceFunc(func(ctx context.Context, req *exchange.Request) (*exchange.Response, error) {
		if !strings.HasPrefix(req.Key.Path, distPrefix) {
			return next.Get(ctx, req)
		}
		origin, target, err := h.resolve(ctx, cached, req)
		if err != nil {
			return nil, err
		}
		ask := req.Clone()
		ask.Origin, ask.Target = origin, target
		return next.Get(ctx, ask)
	})
}

// errUnknown is for what no document has: Composer then asks the origin by itself.
var errUnknown = &exchange.Error{Status: http.StatusNotFound, Message: "the repository knows no such archive"}

// resolve is whom to ask for a dist, and for what.
func (h *Hub) resolve(ctx context.Context, cached exchange.Source, req *exchange.Request) (origin, target string, err error) {
	documents, err := h.documents(ctx, cached, req)
	if err != nil {
		return "", "", err
	}
	for _, path := range documents {
		url, from, err := h.find(ctx, cached, path, req)
		if err != nil {
			return "", "", err
		}
		if url == "" {
			continue
		}
		if origin, target, ok := h.links.Locate(url, from); ok {
			return origin, target, nil
		}
		return "", "", &exchange.Error{Status: http.StatusNotFound, Message: "this is on a host that the proxy does not know",
			Err: fmt.Errorf("%q is neither below a mirror nor below one of options.files", url)}
	}
	return "", "", errUnknown
}

// documents are the paths of what may tell of a dist, in the order in which to look:
// where metadata-url leads, and packages.json itself.
func (h *Hub) documents(ctx context.Context, cached exchange.Source, req *exchange.Request) ([]string, error) {
	template := ""
	err := h.read(ctx, cached, rootPath, func(r io.Reader, from *url.URL) error {
		link := ""
		err := hub.CopyJSON(io.Discard, r, hub.JSONRules{"metadata-url": hub.JSONInto(&link)})
		template, _ = h.mapTemplate(link, from)
		return err
	})
	if err != nil || template == "" {
		return []string{rootPath}, err
	}
	h.template.Store(&template)
	release := strings.ReplaceAll(template, "%package%", req.Package)
	branch := strings.ReplaceAll(template, "%package%", req.Package+devSuffix)
	if strings.HasPrefix(req.Version, "dev-") || strings.HasSuffix(req.Version, "-dev") {
		return []string{branch, release, rootPath}, nil
	}
	return []string{release, branch, rootPath}, nil
}

// find is the URL of the dist that req means, as the document at path has it; ""
// if it is not in it, or there is no such document. Where the document does not say
// the version as Composer compares it, the reference tells.
func (h *Hub) find(ctx context.Context, cached exchange.Source, path string, req *exchange.Request) (found string, at *url.URL, err error) {
	_, file := hub.CutLast(req.Key.Path)
	errFound := errors.New("found")
	err = h.read(ctx, cached, path, func(r io.Reader, from *url.URL) error {
		at = from
		return versions(r, func(v *version) error {
			if !strings.EqualFold(v.pkg, req.Package) || v.dist.ref()+"."+v.dist.kind != file {
				return nil
			}
			if v.path() == req.Key.Path || v.normalized == "" && v.name == req.Version {
				found = v.dist.url
				return errFound
			}
			if found == "" && v.dist.reference != "" {
				found = v.dist.url
			}
			return nil
		})
	})
	if err != nil && !errors.Is(err, errFound) {
		return "", nil, err
	}
	return found, at, nil
}

// read calls f with the document at path; not if there is none.
func (h *Hub) read(ctx context.Context, cached exchange.Source, path string, f func(r io.Reader, from *url.URL) error) error {
	req, ok := hub.Follow(h, path)
	if !ok {
		return nil // no client could ask for it
	}
	resp, err := hub.Consult(ctx, cached, req, f)
	if err == nil && resp.Entry.Status != http.StatusOK && !hub.Missing(resp.Entry.Status) {
		err = &exchange.Error{Status: http.StatusBadGateway, Message: "the package's metadata cannot be had", Err: fmt.Errorf("%v: status %d", req.Key, resp.Entry.Status)}
	}
	return err
}
