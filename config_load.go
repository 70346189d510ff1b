package cacheproxy

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

//go:embed config.yaml
var reference []byte

const maxConfig = 4 << 20

// Problem is one reason why a configuration cannot be used.
type Problem struct {
	File   string
	Line   int    // 0 if it is about none
	Path   string // of the key: upstream[0].path.match; "" if it is about none
	Reason string
}

func (p Problem) Error() string { return place(p.File, p.Line, p.Path) + p.Reason }

// Problems are all that is wrong with a configuration, by line.
type Problems []Problem

// Error has one line a problem.
func (p Problems) Error() string {
	lines := make([]string, len(p))
	for i := range p {
		lines[i] = p[i].Error()
	}
	return strings.Join(lines, "\n")
}

// Warning is something in a configuration that works but should be changed.
type Warning struct {
	File string
	Line int
	Path string
	Text string
}

func (w Warning) String() string { return place(w.File, w.Line, w.Path) + w.Text }

func place(file string, line int, path string) string {
	if line > 0 {
		file += ":" + strconv.Itoa(line)
	}
	if path != "" {
		file += ": " + path
	}
	return file + ": "
}

// Load reads the configuration file at path, and the hubs and filters that were
// made by requests beside the store that it names. What stops it from being used comes
// all at once as [Problems]; that the file cannot be read is any other error.
func Load(path string) (*Config, []Warning, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, fmt.Errorf("configuration file: %w", err)
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, nil, fmt.Errorf("configuration file: %w", err)
	}
	return parseWhole(path, text)
}

// Default is the embedded config.yaml: the public mirrors of the usual
// distributions, and the defaults of everything else.
func Default() *Config {
	c, _, err := parse("config.yaml", reference)
	if err != nil {
		panic(err)
	}
	return c
}

// defaults is the configuration of an empty file.
func defaults() *Config {
	return &Config{
		Listen: []Address{{"tcp", ":8881"}},
		TLS:    TLS{ACME: ACME{Cache: "./acme"}},
		Misc:   Misc{FirstChunkBytes: 50 << 20, ChunkBytes: 1 << 20},
		Cache: Cache{
			Timeout:          Duration(time.Hour),
			StaleIfError:     Never,
			RevalidateBudget: Duration(2 * time.Second),
			Negative:         Duration(time.Minute),
			Validation:       ValidationAll,
		},
		Storage: Storage{
			Type: StorageLocal,
			Local: LocalStorage{
				Path:                 "./data",
				TemporaryFilePattern: "temp.*",
				Accel: Accel{
					RespondWithHeaders: []string{"X-Sendfile", "X-Accel-Redirect"},
					Trusted:            mustPrefixes("127.0.0.0/8", "::1/128"),
				},
				MaxSize:    Space{Percent: 80},
				MinFree:    Space{Percent: 5},
				Durability: Lazy,
				Memory:     128 << 20,
			},
		},
		Race: Race{
			Mode: RaceAdaptive, Width: 3, Stagger: Duration(250 * time.Millisecond), Switch: true,
			Stripe: Stripe{MinSize: 64 << 20, Part: 8 << 20, Width: 4},
		},
		Limits: Limits{
			RequestLine:           8 << 10,
			RequestHeaders:        64 << 10,
			RequestFields:         100,
			HTTP2Streams:          100,
			Ranges:                16,
			ConnectionsPerClient:  256,
			Fills:                 Fills{All: 256, PerMirror: 64, PerClient: 16},
			ClientHeaderTimeout:   Duration(10 * time.Second),
			ClientIdleTimeout:     Duration(75 * time.Second),
			ClientWriteTimeout:    Duration(60 * time.Second),
			ClientMinRate:         1 << 10,
			UpstreamDialTimeout:   Duration(3 * time.Second),
			UpstreamTLSTimeout:    Duration(5 * time.Second),
			UpstreamHeaderTimeout: Duration(15 * time.Second),
			UpstreamIdleTimeout:   Duration(30 * time.Second),
			UpstreamMinRate:       1 << 10,
			UpstreamHeaders:       64 << 10,
			Redirects:             5,
			Object:                50 << 30,
			Drain:                 Duration(30 * time.Second),
			Upgrade:               Duration(time.Hour),
		},
		Log:        Log{Format: LogText, Access: true},
		Traces:     Traces{Percent: 100},
		StatusFile: StatusFile{Every: Duration(5 * time.Second)},
		Admin:      Admin{Listen: OptionalAddress{Address{"tcp", "127.0.0.1:8882"}}},
	}
}

func (u *Upstream) setDefaults(*Config) { u.MaxConnections = 64 }

// parse reads text, the content of file.
func parse(file string, text []byte) (*Config, []Warning, error) {
	return parseBoth(file, text, "", nil)
}

// parseBoth is parse with the hubs and filters of another file, made, behind those
// of the first.
func parseBoth(file string, text []byte, madeFile string, made []byte) (*Config, []Warning, error) {
	c := defaults()
	d := &decoder{config: c, lines: map[string]int{}}
	if len(text) > maxConfig {
		d.problem(0, "", "larger than %v", Size(maxConfig))
	} else if root, ok := d.document(text); ok {
		if made != nil {
			root = d.add(root, madeFile, made)
		}
		d.decode(root, "", reflect.ValueOf(c).Elem())
		d.check(c)
	}
	for i := range d.warnings {
		w := &d.warnings[i]
		w.File, w.Line = d.objects.located(file, w.Line)
	}
	if len(d.problems) == 0 {
		c.file, c.lines, c.objects = file, d.lines, d.objects
		return c, d.warnings, nil
	}
	slices.SortStableFunc(d.problems, func(a, b Problem) int { return a.Line - b.Line })
	for i := range d.problems {
		p := &d.problems[i]
		p.File, p.Line = d.objects.located(file, p.Line)
	}
	return nil, d.warnings, d.problems
}

// yamlLine finds the line in an error of the package yaml, which has it only in its text.
var yamlLine = regexp.MustCompile(`^yaml: (?:line (\d+): )?`)

// document parses the only document of text, which is null if there is none.
// Problems of syntax are noted, and then it is not ok.
func (d *decoder) document(text []byte) (root *yaml.Node, ok bool) {
	null := &yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null"}
	var doc, second yaml.Node
	in := yaml.NewDecoder(bytes.NewReader(text))
	err := in.Decode(&doc)
	if err == nil {
		switch err2 := in.Decode(&second); {
		case err2 == nil:
			d.problem(second.Line, "", "a second document; only one is read")
		case !errors.Is(err2, io.EOF):
			err = err2
		}
	}
	switch {
	case errors.Is(err, io.EOF):
		return null, true
	case err != nil:
		m := yamlLine.FindStringSubmatch(err.Error())
		line := 0
		if m != nil {
			line, _ = strconv.Atoi(m[1])
		}
		d.problem(line, "", "%s", yamlLine.ReplaceAllString(err.Error(), ""))
		return nil, false
	case len(doc.Content) == 0:
		return null, true
	}
	return doc.Content[0], true
}

func mustPrefixes(all ...string) []Prefix {
	out := make([]Prefix, len(all))
	for i, s := range all {
		if err := out[i].set(s); err != nil {
			panic(err)
		}
	}
	return out
}
