package proxytest

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

var method = regexp.MustCompile(`^[A-Z]+$`)

// known says whether there is such a command, and words enough for it.
func (l line) known() error {
	word := l.words[0]
	if method.MatchString(word) {
		return nil
	}
	c, ok := commands[word]
	if !ok {
		return l.errorf("unknown command %q", word)
	}
	if len(l.words)-1 < c.args {
		return l.errorf("%s wants %d words behind it", word, c.args)
	}
	return nil
}

// do carries out one line, which is known.
func (r *run) do(l line) error {
	if method.MatchString(l.words[0]) {
		return r.request(l, 1, l.words)
	}
	return commands[l.words[0]].do(r, l, l.words[1:])
}

// commands maps the first word of a line to what it does, and how many words
// it needs behind itself.
var commands = map[string]struct {
	args int
	do   func(*run, line, []string) error
}{
	"origin":     {2, (*run).origin},
	"release":    {2, (*run).release},
	"parallel":   {3, (*run).parallel},
	"begin":      {3, (*run).begin},
	"await":      {2, (*run).await},
	"finish":     {1, (*run).finish},
	"abort":      {1, (*run).abort},
	"raw":        {1, (*run).raw},
	"status":     {1, (*run).status},
	"header":     {2, (*run).header},
	"body":       {1, (*run).body},
	"parts":      {2, (*run).parts},
	"fails":      {0, (*run).fails},
	"within":     {1, (*run).within},
	"first-byte": {2, (*run).firstByte},
	"hits":       {3, (*run).hits},
	"bodies":     {3, (*run).bodies},
	"sent":       {4, (*run).sent},
	"stored":     {1, (*run).stored},
	"not-stored": {1, (*run).notStored},
	"no-temp":    {0, (*run).noTemp},
	"advance":    {1, (*run).advanceClock},
	"file":       {2, (*run).file},
	"remove":     {1, (*run).remove},
	"restart":    {0, (*run).restart},
}

func (r *run) named(l line, name string) (*Origin, error) {
	if o := r.origins[name]; o != nil {
		return o, nil
	}
	return nil, l.errorf("no origin %q", name)
}

func (r *run) origin(l line, args []string) error {
	o, err := r.named(l, args[0])
	if err != nil {
		return err
	}
	switch args[1] {
	case "down":
		o.Down()
		return nil
	case "up":
		o.Up()
		return nil
	case "silent":
		o.Silent()
		return nil
	}
	if len(args) < 4 {
		return l.errorf("want origin NAME METHOD PATH STATUS")
	}
	reply := Reply{Header: l.header}
	if reply.Status, err = strconv.Atoi(args[3]); err != nil {
		return l.errorf("status %q", args[3])
	}
	flip := int64(-1)
	for _, arg := range args[4:] {
		key, value, ok := strings.Cut(arg, "=")
		if !ok {
			return l.errorf("want key=value, not %q", arg)
		}
		if key == "flip" {
			if flip, err = strconv.ParseInt(value, 10, 64); err != nil {
				return l.errorf("%s: %v", arg, err)
			}
			continue
		}
		if err := reply.set(key, value); err != nil {
			return l.errorf("%s: %v", arg, err)
		}
	}
	if flip >= 0 {
		reply.Body = reply.Body.Flipped(flip)
	}
	o.then(args[1], args[2], reply)
	return nil
}

// set is one key=value of an origin line.
func (reply *Reply) set(key, value string) (err error) {
	fault := func(f Fault) {
		reply.Fault = f
		reply.At, err = strconv.ParseInt(value, 10, 64)
	}
	switch key {
	case "body":
		reply.Body, err = ParseBody(unquote(value))
	case "etag":
		reply.Header.Set("ETag", value)
	case "type":
		reply.Header.Set("Content-Type", unquote(value))
	case "location":
		reply.Header.Set("Location", value)
	case "modified":
		var at time.Time
		if at, err = time.Parse(time.RFC3339, value); err == nil {
			reply.Header.Set("Last-Modified", at.UTC().Format(http.TimeFormat))
		}
	case "framing":
		framing, ok := map[string]Framing{"length": Length, "chunked": Chunked, "close": Close, "http10": HTTP10}[value]
		if !ok {
			return fmt.Errorf("unknown framing")
		}
		reply.Framing = framing
	case "cut":
		fault(Cut)
	case "reset":
		fault(Reset)
	case "stall":
		fault(Stall)
	case "claim":
		reply.Claim, err = strconv.ParseInt(value, 10, 64)
	case "delay":
		reply.Delay, err = time.ParseDuration(value)
	case "rate":
		reply.Rate, err = strconv.ParseInt(value, 10, 64)
	case "times":
		reply.Times, err = strconv.Atoi(value)
	case "ranges", "conditional":
		if value != "off" {
			return fmt.Errorf("want off")
		}
		reply.NoRanges = reply.NoRanges || key == "ranges"
		reply.NoConditional = reply.NoConditional || key == "conditional"
	default:
		return fmt.Errorf("unknown key")
	}
	return err
}

// unquote removes the quotes around a value, if it has them.
func unquote(s string) string {
	if u, err := strconv.Unquote(s); err == nil && strings.HasPrefix(s, `"`) {
		return u
	}
	return s
}

func (r *run) release(l line, args []string) error {
	o, err := r.named(l, args[0])
	if err == nil {
		o.Release(args[1])
	}
	return err
}

// request sends METHOD PATH n times at once, and waits.
func (r *run) request(l line, n int, args []string) error {
	if err := r.settle(); err != nil {
		return err
	}
	if len(args) != 2 {
		return l.errorf("want METHOD PATH [Field: value]...")
	}
	for range n {
		r.last = append(r.last, Do(r.url, args[0], args[1], l.header))
	}
	for _, res := range r.last {
		res.Wait()
	}
	r.lastAt = l
	return nil
}

func (r *run) parallel(l line, args []string) error {
	n, err := strconv.Atoi(args[0])
	if err != nil || n < 1 {
		return l.errorf("want parallel N METHOD PATH")
	}
	return r.request(l, n, args[1:])
}

func (r *run) begin(l line, args []string) error {
	if r.clients[args[0]] != nil {
		return l.errorf("client %q is busy", args[0])
	}
	res := Do(r.url, args[1], args[2], l.header)
	r.clients[args[0]] = res
	r.t.Cleanup(res.Abort)
	return nil
}

func (r *run) client(l line, name string) (*Result, error) {
	if c := r.clients[name]; c != nil {
		return c, nil
	}
	return nil, l.errorf("no client %q has begun", name)
}

func (r *run) await(l line, args []string) error {
	c, err := r.client(l, args[0])
	if err != nil {
		return err
	}
	n, err := strconv.Atoi(args[1])
	if err != nil {
		return l.errorf("want await CLIENT BYTES")
	}
	if !c.Received(n) {
		return l.errorf("it ended with %d bytes of content, status %d: %v", len(c.Body), c.Status, c.Err)
	}
	return nil
}

func (r *run) finish(l line, args []string) error {
	if err := r.settle(); err != nil {
		return err
	}
	c, err := r.client(l, args[0])
	if err != nil {
		return err
	}
	delete(r.clients, args[0])
	r.last, r.lastAt = []*Result{c.Wait()}, l
	return nil
}

func (r *run) abort(l line, args []string) error {
	c, err := r.client(l, args[0])
	if err == nil {
		delete(r.clients, args[0])
		c.Abort()
	}
	return err
}

func (r *run) raw(l line, _ []string) error {
	if err := r.settle(); err != nil {
		return err
	}
	quoted := strings.TrimSpace(strings.TrimPrefix(l.text, "raw"))
	text, err := strconv.Unquote(quoted)
	if err != nil {
		return l.errorf("want a quoted string")
	}
	u, err := url.Parse(r.url)
	if err != nil {
		return l.errorf("%v", err)
	}
	verb, _, _ := strings.Cut(text, " ")
	r.last, r.lastAt = []*Result{send(u.Host, verb, []byte(text)).Wait()}, l
	return nil
}

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
	deadline := time.Now().Add(2 * time.Second)
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
func (r *run) inDir(path string) string { return filepath.Join(r.env.Dir, filepath.FromSlash(path)) }

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

func (r *run) advanceClock(l line, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return l.errorf("%v", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.advance += d
	return nil
}

func (r *run) file(l line, args []string) error {
	b, err := ParseBody(unquote(args[1]))
	if err != nil {
		return l.errorf("%v", err)
	}
	path := r.inDir(args[0])
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return l.errorf("%v", err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o644); err != nil {
		return l.errorf("%v", err)
	}
	return nil
}

func (r *run) remove(l line, args []string) error {
	if err := os.RemoveAll(r.inDir(args[0])); err != nil {
		return l.errorf("%v", err)
	}
	return nil
}

func (r *run) restart(_ line, _ []string) error {
	if err := r.settle(); err != nil {
		return err
	}
	r.stop()
	r.up()
	return nil
}
