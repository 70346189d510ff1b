package proxytest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An Env is what a proxy under test is started with.
type Env struct {
	Config string // YAML text, upstreams filled in
	Dir    string // data directory, kept over restarts
	Now    func() time.Time
}

// Start starts a proxy and returns its base URL, and what stops it. Stop is
// called once, and returns when the proxy is gone.
type Start func(t *testing.T, env Env) (url string, stop func())

// Run runs the scripts dir/*.txt, each in a subtest of its name and against a
// proxy of its own. The package comment has the language.
func Run(t *testing.T, dir string, start Start) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.txt"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no scripts in %s", dir)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			t.Parallel()
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			if err := runScript(t, file, string(text), start); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// A line is one command of a script.
type line struct {
	at     string   // file:line
	text   string   // without comment
	words  []string // of text
	header http.Header
}

// errorf is an error of the line.
func (l line) errorf(format string, args ...any) error {
	return fmt.Errorf("%s: %s\n\t%s", l.at, l.text, fmt.Sprintf(format, args...))
}

// runScript carries out a script. An error is for the person who reads it.
func runScript(t *testing.T, name, text string, start Start) error {
	config, lines, err := parse(name, text)
	if err != nil {
		return err
	}
	r := &run{t: t, start: start, origins: map[string]*Origin{}, clients: map[string]*Result{}}
	var names []string
	for _, m := range originNames.FindAllStringSubmatch(text, -1) {
		name := m[1] + m[2]
		if name == "data" || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		r.origins[name] = NewOrigin(t)
		r.origins[name].Now = r.now
	}
	if !hasUpstreams.MatchString(config) && len(names) > 0 {
		config += "\nupstream:\n"
		for _, name := range names {
			config += "- server: ${" + name + "}\n"
		}
	}
	r.env = Env{Dir: t.TempDir(), Now: r.now}
	r.env.Config = r.expand(config)
	for i := range lines {
		if err := lines[i].split(r.expand); err != nil {
			return err
		}
		if err := lines[i].known(); err != nil {
			return err
		}
	}
	r.up()
	defer func() { r.stop() }()
	for _, l := range lines {
		if err := r.do(l); err != nil {
			return err
		}
	}
	return r.settle()
}

var (
	originNames  = regexp.MustCompile(`(?m)^origin\s+(\w+)\b|\$\{([a-z]\w*)\}`)
	hasUpstreams = regexp.MustCompile(`(?m)^(upstream|hubs):`)
	comment      = regexp.MustCompile(`(^|\s)#.*$`)
)

// parse takes a script apart: its configuration, and its other lines.
func parse(name, text string) (config string, lines []line, err error) {
	inConfig := false
	var block []string
	for i, raw := range strings.Split(text, "\n") {
		at := fmt.Sprintf("%s:%d", name, i+1)
		indented := strings.HasPrefix(raw, " ")
		if inConfig && (indented || strings.TrimSpace(raw) == "") {
			block = append(block, raw)
			continue
		}
		inConfig = false
		text := strings.TrimSpace(comment.ReplaceAllString(raw, ""))
		switch {
		case text == "":
		case indented:
			return "", nil, fmt.Errorf("%s: an indented line outside config", at)
		case text == "config":
			inConfig = true
		default:
			lines = append(lines, line{at: at, text: text})
		}
	}
	return dedent(block), lines, nil
}

// dedent removes the indentation of the first line from all.
func dedent(block []string) string {
	indent := -1
	for i, l := range block {
		if strings.TrimSpace(l) == "" {
			continue
		}
		if indent < 0 {
			indent = len(l) - len(strings.TrimLeft(l, " "))
		}
		block[i] = l[min(indent, len(l)-len(strings.TrimLeft(l, " "))):]
	}
	return strings.Join(block, "\n")
}

// split fills words and header. Quotes stay where they are part of a value
// (etag="v1") and go where they are all of it.
func (l *line) split(expand func(string) string) error {
	l.text = expand(l.text)
	l.header = http.Header{}
	rest := l.text
	for rest = strings.TrimLeft(rest, " \t"); rest != ""; rest = strings.TrimLeft(rest, " \t") {
		if rest[0] == '[' {
			field, after, ok := strings.Cut(rest[1:], "]")
			name, value, colon := strings.Cut(field, ":")
			if !ok || !colon {
				return l.errorf("want [Field: value]")
			}
			l.header.Add(strings.TrimSpace(name), strings.TrimSpace(value))
			rest = after
			continue
		}
		end, quoted := 0, false
		for ; end < len(rest) && (quoted || rest[end] != ' ' && rest[end] != '\t'); end++ {
			switch {
			case rest[end] == '"':
				quoted = !quoted
			case rest[end] == '\\' && quoted:
				end++
			}
		}
		if quoted || end > len(rest) {
			return l.errorf("a quote without its end")
		}
		l.words, rest = append(l.words, rest[:end]), rest[end:]
	}
	if len(l.words) == 0 {
		return l.errorf("a line without a command")
	}
	return nil
}

// A run is a script being carried out, by one goroutine.
type run struct {
	t       *testing.T
	start   Start
	env     Env
	url     string
	halt    func()
	origins map[string]*Origin
	clients map[string]*Result // in the background
	last    []*Result          // of the last request; several after parallel
	lastAt  line
	checked bool // a failure in last was expected

	mu      sync.Mutex
	advance time.Duration // guarded by mu: the clock is read by the proxy
}

func (r *run) now() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return time.Now().Add(r.advance)
}

func (r *run) up() { r.url, r.halt = r.start(r.t, r.env) }

func (r *run) stop() {
	if r.halt != nil {
		r.halt()
		r.halt = nil
	}
}

// expand replaces the origins' names and the data directory.
func (r *run) expand(s string) string {
	for name, o := range r.origins {
		s = strings.ReplaceAll(s, "${"+name+"}", o.URL())
	}
	return strings.ReplaceAll(s, "${data}", r.env.Dir)
}

// settle ends the checks of the last request: a failure that no line spoke of is one.
func (r *run) settle() error {
	defer func() { r.last, r.checked = nil, false }()
	for _, res := range r.last {
		if res.Err != nil && !r.checked {
			return r.lastAt.errorf("the transfer failed after %d bytes of content, status %d: %v", len(res.Body), res.Status, res.Err)
		}
	}
	return nil
}
