package upstream

import (
	"bytes"
	"errors"
	"io"
	"mime"
	"net/http"
	"path"
	"slices"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// errPage is what is wrong with the page of a captive portal, of a login or of an
// error that says 200, where an archive was asked for.
var errPage = errors.New("a page where an archive was asked for")

// maxSniff is how much of a body [http.DetectContentType] looks at.
const maxSniff = 512

// inspect makes a failure of a good answer that is a page though its path names an
// archive: stored, it would stay for ever. An answer that says text/html is one
// unless its content is binary, as some servers say so of all files; one that says
// nothing, if its content begins like HTML. Nothing else is looked at, and nothing
// where an operator's checker has already judged the type. err is of the transport.
func (l *leg) inspect(res *response) error {
	if res.StatusCode != http.StatusOK || l.req.Post != nil || l.req.Policy.Class == freshness.Transparent || l.isListing() {
		return nil
	}
	declared, maybe := l.mayBePage(res)
	if !maybe {
		return nil
	}
	var head []byte
	if !l.req.Head && res.Header.Get("Content-Encoding") == "" {
		var err error
		if head, err = peek(res); err != nil {
			return err
		}
	}
	kind := http.DetectContentType(head)
	if strings.HasPrefix(kind, "text/html") || declared && strings.HasPrefix(kind, "text/") {
		l.outcome, l.err = failed, errPage
	}
	return nil
}

// mayBePage reports whether only the content of an answer can tell that it is no
// page, and whether its type says that it is one.
func (l *leg) mayBePage(res *response) (declared, maybe bool) {
	if !archive(l.req.Key.Path) ||
		slices.ContainsFunc(l.mirror.fields, func(c HeaderCheck) bool { return strings.EqualFold(c.Name, "Content-Type") }) {
		return false, false
	}
	switch mediaType, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type")); mediaType {
	case "text/html", "application/xhtml+xml":
		return true, true
	case "":
		return false, !l.req.Head
	}
	return false, false
}

// isListing reports whether redirects led to a directory of the name that was asked for.
func (l *leg) isListing() bool {
	p, _, _ := strings.Cut(l.entry.URL, "?")
	return strings.HasSuffix(p, "/"+path.Base(l.url.EscapedPath())+"/")
}

// peek is what the body of res begins with; it stays in the body.
func peek(res *response) ([]byte, error) {
	head := make([]byte, maxSniff)
	n, err := io.ReadFull(res.Body, head)
	if err != nil && err != io.EOF && (err != io.ErrUnexpectedEOF || res.ContentLength > int64(n)) {
		return nil, err
	}
	res.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(head[:n]), res.Body), res.Body}
	return head[:n], nil
}

// archive reports whether a path names an archive, a package or an image: content
// that is never text. A packed page is none, since servers give it the page's type.
func archive(p string) bool {
	p, _, _ = strings.Cut(strings.ToLower(p), "?")
	ext := path.Ext(p)
	switch ext {
	case ".gz", ".xz", ".bz2", ".zst", ".lzma", ".lz", ".lz4", ".br", ".z":
		switch path.Ext(strings.TrimSuffix(p, ext)) {
		case ".html", ".htm", ".xhtml":
			return false
		}
		return true
	case ".tar", ".tgz", ".tbz", ".tbz2", ".txz", ".tzst", ".zip", ".7z", ".rar", ".cab",
		".deb", ".udeb", ".ddeb", ".rpm", ".drpm", ".apk", ".whl", ".egg", ".crate", ".gem", ".nupkg", ".conda",
		".jar", ".war", ".ear", ".aar", ".vsix", ".snap", ".flatpak", ".appimage",
		".iso", ".img", ".qcow2", ".vmdk", ".vhd", ".vhdx", ".squashfs", ".exe", ".msi", ".msix", ".dmg", ".pkg":
		return true
	}
	return false
}
