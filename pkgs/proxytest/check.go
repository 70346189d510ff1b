package proxytest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// each holds check against every result of the last request.
func (r *run) each(l line, check func(*Result) error) error {
	if len(r.last) == 0 {
		return l.errorf("no request before this check")
	}
	for i, res := range r.last {
		if err := check(res); err != nil {
			if len(r.last) > 1 {
				return l.errorf("client %d of %d: %v", i+1, len(r.last), err)
			}
			return l.errorf("%v", err)
		}
	}
	return nil
}

func (r *run) status(l line, args []string) error {
	return r.each(l, func(res *Result) error {
		for _, arg := range args {
			if arg == strconv.Itoa(res.Status) {
				return nil
			}
		}
		return fmt.Errorf("got %d %.200q, error: %v", res.Status, res.Body, res.Err)
	})
}

func (r *run) header(l line, args []string) error {
	return r.each(l, func(res *Result) error { return checkHeader(res.Header, args) })
}

// checkHeader checks NAME is|contains|matches|absent|present VALUE.
func checkHeader(h http.Header, args []string) error {
	name, relation, want := args[0], args[1], strings.Join(args[2:], " ")
	values := h.Values(name)
	got := strings.Join(values, ", ")
	var ok bool
	switch relation {
	case "absent":
		ok = len(values) == 0
	case "present":
		ok = len(values) > 0
	case "is":
		ok = got == want && len(values) > 0
	case "contains":
		ok = strings.Contains(got, want)
	case "matches":
		re, err := regexp.Compile(want)
		if err != nil {
			return err
		}
		ok = re.MatchString(got)
	default:
		return fmt.Errorf("unknown relation %q", relation)
	}
	if !ok {
		return fmt.Errorf("%s is %q; all fields: %v", name, values, h)
	}
	return nil
}

func (r *run) body(l line, args []string) error {
	want, from, to, err := part(l, args)
	if err != nil {
		return err
	}
	return r.each(l, func(res *Result) error { return same(res.Body, want, from, to) })
}

// part reads BODY [FROM-TO].
func part(l line, args []string) (b Body, from, to int64, err error) {
	if b, err = ParseBody(unquote(args[0])); err != nil {
		return b, 0, 0, l.errorf("%v", err)
	}
	if len(args) == 1 {
		return b, 0, b.Size() - 1, nil
	}
	from, to, ok := parseRange(args[1], b.Size())
	if !ok {
		return b, 0, 0, l.errorf("range %q", args[1])
	}
	return b, from, to, nil
}

// same compares content with bytes from to to (included) of want.
func same(got []byte, want Body, from, to int64) error {
	wanted := make([]byte, to-from+1)
	_, _ = want.ReadAt(wanted, from)
	if bytes.Equal(got, wanted) {
		return nil
	}
	for i := range min(len(got), len(wanted)) {
		if got[i] != wanted[i] {
			return fmt.Errorf("%d bytes of %d; byte %d differs: got %.40q, want %.40q", len(got), len(wanted), i, got[i:], wanted[i:])
		}
	}
	return fmt.Errorf("got %d bytes, want %d", len(got), len(wanted))
}

func (r *run) parts(l line, args []string) error {
	return r.each(l, func(res *Result) error {
		kind, params, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
		if err != nil || kind != "multipart/byteranges" {
			return fmt.Errorf("Content-Type is %q", res.Header.Get("Content-Type"))
		}
		mr := multipart.NewReader(bytes.NewReader(res.Body), params["boundary"])
		for _, spec := range args[1:] {
			want, from, to, err := part(l, []string{args[0], spec})
			if err != nil {
				return err
			}
			p, err := mr.NextRawPart()
			if err != nil {
				return fmt.Errorf("part %s: %w", spec, err)
			}
			field := fmt.Sprintf("bytes %d-%d/%d", from, to, want.Size())
			if got := p.Header.Get("Content-Range"); got != field {
				return fmt.Errorf("part %s: Content-Range is %q", spec, got)
			}
			content, err := io.ReadAll(p)
			if err != nil {
				return fmt.Errorf("part %s: %w", spec, err)
			}
			if err := same(content, want, from, to); err != nil {
				return fmt.Errorf("part %s: %w", spec, err)
			}
		}
		if _, err := mr.NextRawPart(); err != io.EOF {
			return fmt.Errorf("more than %d parts", len(args)-1)
		}
		return nil
	})
}

func (r *run) fails(l line, args []string) error {
	r.checked = true
	return r.each(l, func(res *Result) error {
		if res.Err == nil {
			return fmt.Errorf("it ended well: status %d, %d bytes", res.Status, len(res.Body))
		}
		if len(args) > 0 && args[0] == "reset" && !res.WasReset() {
			return fmt.Errorf("not by a reset: %v", res.Err)
		}
		return nil
	})
}

func (r *run) within(l line, args []string) error {
	return r.timed(l, args[0], func(res *Result) time.Duration { return res.Total })
}

func (r *run) firstByte(l line, args []string) error {
	if args[0] != "within" {
		return l.errorf("want first-byte within DURATION")
	}
	return r.timed(l, args[1], func(res *Result) time.Duration { return res.FirstByte })
}

func (r *run) timed(l line, limit string, took func(*Result) time.Duration) error {
	d, err := time.ParseDuration(limit)
	if err != nil {
		return l.errorf("%v", err)
	}
	return r.each(l, func(res *Result) error {
		if got := took(res); got > d {
			return fmt.Errorf("it took %v", got)
		}
		return nil
	})
}

func (r *run) hits(l line, args []string) error   { return r.count(l, args, (*Origin).Hits) }
func (r *run) bodies(l line, args []string) error { return r.count(l, args, (*Origin).Bodies) }

func (r *run) count(l line, args []string, count func(*Origin, string) int) error {
	o, err := r.named(l, args[0])
	if err != nil {
		return err
	}
	want, err := strconv.Atoi(args[2])
	if err != nil {
		return l.errorf("want a number")
	}
	return l.soon(func() error {
		if got := count(o, args[1]); got != want {
			return fmt.Errorf("got %d", got)
		}
		return nil
	})
}

func (r *run) sent(l line, args []string) error {
	o, err := r.named(l, args[0])
	if err != nil {
		return err
	}
	requests := o.Requests(args[1])
	if args[2] != "header" || len(args) < 5 {
		return l.errorf("want sent NAME PATH header FIELD is|contains|matches|absent|present VALUE")
	}
	if len(requests) == 0 {
		return l.errorf("it was not asked for that path")
	}
	last := requests[len(requests)-1]
	header := last.Header.Clone()
	header.Set("Host", last.Host)
	if err := checkHeader(header, args[3:]); err != nil {
		return l.errorf("%v", err)
	}
	return nil
}

// soon waits up to two seconds for check to pass: a proxy may do its
// book-keeping behind the answer.
func (l line) soon(check func() error) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		err := check()
		if err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return l.errorf("%v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// inDir is a path of the data directory.
func (r *run) inDir(path string) string {
	return filepath.Join(r.env.Dir, filepath.FromSlash(unquote(path)))
}

func (r *run) stored(l line, args []string) error {
	return l.soon(func() error {
		content, err := os.ReadFile(r.inDir(args[0]))
		if err != nil || len(args) == 1 {
			return err
		}
		want, from, to, err := part(l, args[1:])
		if err != nil {
			return err
		}
		return same(content, want, from, to)
	})
}

func (r *run) notStored(l line, args []string) error {
	info, err := os.Stat(r.inDir(args[0]))
	if err == nil && info.Mode().IsRegular() {
		return l.errorf("it is there, %d bytes", info.Size())
	}
	return nil
}

func (r *run) noTemp(l line, _ []string) error {
	return l.soon(func() error {
		return filepath.WalkDir(r.env.Dir, func(path string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && (strings.HasPrefix(d.Name(), "temp.") || filepath.Base(filepath.Dir(path)) == ".temp") {
				return fmt.Errorf("%s is there", path)
			}
			return err
		})
	})
}
