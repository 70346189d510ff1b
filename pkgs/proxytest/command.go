package proxytest

import (
	"errors"
	"fmt"
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
	"until":      {3, (*run).until},
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
	if err != nil {
		return err
	}
	return l.soon(func() error {
		if !o.Release(args[1]) {
			return errors.New("no transfer stalls")
		}
		return nil
	})
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

// until repeats a request until it is answered with a body: what the server
// learns behind a client is there a moment later.
func (r *run) until(l line, args []string) error {
	return l.soon(func() error {
		if err := r.request(l, 1, args[1:]); err != nil {
			return err
		}
		return r.body(l, args[:1])
	})
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

func (r *run) advanceClock(l line, args []string) error {
	d, err := time.ParseDuration(args[0])
	if err != nil {
		return l.errorf("%v", err)
	}
	time.Sleep(30 * time.Millisecond) // for what was stored just now: hours must not pass while it lands
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
