package hub

import (
	"io"
	"net/http"
	"net/url"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Teach hears what an index says of the content at a path, which is the key's.
type Teach = func(path string, f exchange.Fact)

// Learn has the ledger read an index behind the client: resp, which is next's answer
// to req, if it may be kept. read gets it unpacked, and teaches what it says; all
// paths of which it may speak begin with prefix (ledger.Learn). Of nothing (nil), of
// a head and of another status than 200 nothing is learned.
func (o *Options) Learn(next exchange.Source, req *exchange.Request, resp *exchange.Response, prefix string, read func(r io.Reader, teach Teach) error) {
	if resp == nil || resp.NoStore || req.Head {
		return
	}
	o.Ledger.Learn(next, req, resp.Entry, prefix, unpacking(read))
}

// unpacking is read of content as it comes.
func unpacking(read func(r io.Reader, teach Teach) error) func(r io.Reader, teach Teach) error {
	return func(r io.Reader, teach Teach) error {
		plain, err := Unpack(r)
		if err != nil {
			return err
		}
		defer plain.Close()
		return read(plain, teach)
	}
}

// Follow is what a client asks h for that follows a link to path, which is below h as
// [Links] map it: spelled as the index likes, with a query maybe. Its Key is what an
// index that has the link teaches. ok is false if h has no such path.
func Follow(h Hub, path string) (req *exchange.Request, ok bool) {
	u, err := url.Parse(path)
	if err != nil {
		return nil, false
	}
	if req, err = h.Parse(&http.Request{Method: http.MethodGet, URL: u}); err != nil {
		return nil, false
	}
	return req, true
}

// IndexAt is for an [Indexer] whose index of the package that req is about lies at
// path, a canonical one: req itself if that is what it asks for, else what a client
// asks for that is told no more than the path; nil if h has no such path.
func IndexAt(h Hub, req *exchange.Request, path string) *exchange.Request {
	if path == req.Key.Path {
		return req
	}
	index, ok := Follow(h, path)
	if !ok {
		return nil
	}
	index.Package, index.Client = req.Package, req.Client
	return index
}
