package hub_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// shout is a rule that makes a string upper case.
func shout(value []byte) ([]byte, error) {
	s, ok := hub.JSONString(value)
	if !ok {
		return value, nil
	}
	return hub.AppendJSONString(nil, strings.ToUpper(s)), nil
}

func TestCopyJSON(t *testing.T) {
	long := strings.Repeat(`\"long `, 20_000)
	tests := []struct {
		name  string
		paths []string
		in    string
		want  string // "" for in itself
	}{
		{"nothing asked", nil, ` {"a" : [1.50, -0e+7,true, null,{"b":"\u00e9"}] } ` + "\n", ""},
		{"a scalar", nil, `"x"`, ""},
		{"empty ones", []string{"a/*/b"}, `{"a":{},"c":[],"d":[[],{}]}`, ""},
		{"in place", []string{"v/*/d/t"}, `{ "v" : {"1":{"x":[1],"d":{"t":"a","u":"a"}}, "2":{"d":{"u":"b","t" : "b" }}}, "d":{"t":"a"}}`,
			`{ "v" : {"1":{"x":[1],"d":{"t":"A","u":"a"}}, "2":{"d":{"u":"b","t" : "B" }}}, "d":{"t":"a"}}`},
		{"elements", []string{"f/*/u"}, `{"f":[{"u":"a"},{"u":"b"},"c"]}`, `{"f":[{"u":"A"},{"u":"B"},"c"]}`},
		{"elements that are scalars", []string{"f/*"}, `{"f":["a",["b"],"c"]}`, `{"f":["A",["b"],"C"]}`},
		{"a name before any", []string{"a/x", "a/*/y"}, `{"a":{"x":"a","z":{"y":"b"}}}`, `{"a":{"x":"A","z":{"y":"B"}}}`},
		{"an escaped name", []string{"dist"}, `{"d\u0069st":"a"}`, `{"d\u0069st":"A"}`},
		{"an escaped value", []string{"a"}, `{"a":"\u0061\/\"b\\"}`, `{"a":"A/\"B\\"}`},
		{"twice", []string{"a"}, `{"a":"a","a":"b"}`, `{"a":"A","a":"B"}`},
		{"no string", []string{"a"}, `{"a":17,"b":{"a":"x"}}`, ""},
		{"mark", []string{"a"}, "\ufeff{\"a\":\"a\"}", "\ufeff{\"a\":\"A\"}"},
		{"across the buffer", []string{"*/b"}, `[{"a":"` + long + `","b":"` + long + `"}]`,
			`[{"a":"` + long + `","b":"` + strings.ToUpper(long) + `"}]`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			rules := hub.JSONRules{}
			for _, path := range tt.paths {
				rules[path] = shout
			}
			if tt.want == "" {
				tt.want = tt.in
			}
			for _, src := range []io.Reader{strings.NewReader(tt.in), iotest.HalfReader(strings.NewReader(tt.in)), iotest.DataErrReader(strings.NewReader(tt.in))} {
				var got strings.Builder
				require.NoError(t, hub.CopyJSON(&got, src, rules))
				assert.Equal(t, tt.want, got.String())
			}
		})
	}
}

func TestCopyJSONErrors(t *testing.T) {
	tests := []struct{ name, in string }{
		{"nothing", ""}, {"blanks", " \n"}, {"no JSON", "<html>"}, {"cut in an object", `{"a":1`}, {"cut in a string", `{"a":"b`},
		{"cut in an escape", `{"a":"b\`}, {"cut behind a name", `{"a"`}, {"two values", `{} {}`}, {"a NUL behind", "{}\x00"},
		{"another closer", `{"a":[1}`}, {"no comma", `[1 2]`}, {"no colon", `{"a" 1}`}, {"no name", `{1:2}`},
		{"a comma too many", `{"a":1,}`}, {"a comment", `{/**/}`}, {"single quotes", `{'a':1}`},
		{"a bad escape in a name", `{"\x":1}`}, {"deep", strings.Repeat("[", 100_000)}, {"deep objects", strings.Repeat(`{"a":`, 100_000)},
		{"a value without end", `{"a":"` + strings.Repeat("x", 3<<20) + `"}`}, {"a number without end", `{"a":` + strings.Repeat("1", 3<<20) + `}`},
		{"a name without end", `{"` + strings.Repeat("x", 3<<20) + `":1}`}, {"UTF-16", "\xff\xfe{\x00}\x00"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			keep := func(v []byte) ([]byte, error) { return v, nil }
			assert.Error(t, hub.CopyJSON(io.Discard, strings.NewReader(tt.in), hub.JSONRules{"a": keep}))
		})
	}
	t.Run("of the source", func(t *testing.T) {
		err := hub.CopyJSON(io.Discard, io.MultiReader(strings.NewReader(`{"a":`), iotest.ErrReader(errors.New("cut"))), nil)
		assert.ErrorContains(t, err, "cut")
		err = hub.CopyJSON(io.Discard, io.MultiReader(strings.NewReader(`{}`), iotest.ErrReader(errors.New("cut"))), nil)
		assert.ErrorContains(t, err, "cut")
	})
	t.Run("of a rule", func(t *testing.T) {
		wrong := errors.New("wrong")
		for _, path := range []string{"a/b", "a/"} {
			err := hub.CopyJSON(io.Discard, strings.NewReader(`{"a":{"b":1}}`),
				hub.JSONRules{path: func([]byte) ([]byte, error) { return nil, wrong }})
			assert.ErrorIs(t, err, wrong)
		}
	})
	t.Run("of the destination", func(t *testing.T) {
		r, w := io.Pipe()
		r.Close()
		assert.ErrorIs(t, hub.CopyJSON(w, strings.NewReader(`{"a":"`+strings.Repeat("x", 1<<20)+`"}`), nil), io.ErrClosedPipe)
		assert.ErrorIs(t, hub.CopyJSON(w, strings.NewReader(`{}`), nil), io.ErrClosedPipe)
	})
}

func TestJSONEnds(t *testing.T) {
	var seen []string
	note := func(what string) func([]byte) ([]byte, error) {
		return func(v []byte) ([]byte, error) { seen = append(seen, what+string(v)); return v, nil }
	}
	require.NoError(t, hub.CopyJSON(io.Discard, strings.NewReader(`{"f":[{"u":1},{},{"h":{"u":2}}]}`),
		hub.JSONRules{"f/*/u": note("u"), "f/*/": note("end"), "f/": note("all")}))
	assert.Equal(t, []string{"u1", "end", "end", "end", "all"}, seen)
}

// What encoding/json takes is copied byte by byte, and each value is seen once
// under its path; what it does not take does no harm.
func FuzzCopyJSON(f *testing.F) {
	for _, seed := range []string{
		`{"a":{"b":"c","d":[1,{"b":"\u0062"}]},"a":"x"}`, `[]`, `"\\"`, `{"\u0061":[{"a":1e5}]}`, "\ufeff{}", `[[[[`, `{"a":{"a":{"a":null}}}`,
		`{"x":"\\\"","y":-1.5e+7,"z":[1,{"a":"]"}],"a":{"c":true,"b":"x"} ,"long enough for a word of eight":"a\\\\"}`, `{"x":1,}`, `{"x":a"b"}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		run := func(src io.Reader) (seen []string, err error) {
			var out bytes.Buffer
			note := func(v []byte) ([]byte, error) { seen = append(seen, string(v)); return v, nil }
			err = hub.CopyJSON(&out, src, hub.JSONRules{"a": note, "*/a": note, "*/*/b": note})
			if err == nil {
				assert.Equal(t, in, out.Bytes())
			}
			return seen, err
		}
		seen, err := run(bytes.NewReader(in))
		bytewise, slow := run(iotest.OneByteReader(bytes.NewReader(in))) // where nothing is whole in the buffer
		require.Equal(t, slow == nil, err == nil)
		require.Equal(t, bytewise, seen)
		if !json.Valid(in) || deep(in) {
			return
		}
		require.NoError(t, err)
		want := []string{}
		d := json.NewDecoder(bytes.NewReader(in))
		d.UseNumber()
		walk(t, d, nil, func(path []string, v any) {
			n := len(path)
			if n == 1 && path[0] == "a" || n == 2 && path[0] != "a" && path[1] == "a" ||
				n == 3 && path[0] != "a" && path[1] != "a" && path[2] == "b" {
				want = append(want, fmt.Sprint(v))
			}
		})
		got := []string{}
		for _, s := range seen {
			var v any
			d := json.NewDecoder(strings.NewReader(s))
			d.UseNumber()
			require.NoError(t, d.Decode(&v))
			got = append(got, fmt.Sprint(v))
		}
		assert.Equal(t, want, got)
	})
}

func deep(in []byte) bool { return bytes.Count(in, []byte("["))+bytes.Count(in, []byte("{")) > 900 }

// walk visits the scalars of one value; elements have the name "#".
func walk(t *testing.T, d *json.Decoder, path []string, visit func([]string, any)) {
	token, err := d.Token()
	require.NoError(t, err)
	delim, ok := token.(json.Delim)
	if !ok {
		visit(path, token)
		return
	}
	for d.More() {
		name := "#"
		if delim == '{' {
			token, err := d.Token()
			require.NoError(t, err)
			name = token.(string)
		}
		walk(t, d, append(path[:len(path):len(path)], name), visit)
	}
	_, err = d.Token()
	require.NoError(t, err)
}

// packument is a full one of about size bytes, as registries send it.
func packument(size int) []byte {
	var b bytes.Buffer
	b.WriteString(`{"_id":"demo","_rev":"1-abc","name":"demo","dist-tags":{"latest":"1.0.0"},"versions":{`)
	for n := 0; b.Len() < size; n++ {
		if n > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `"1.0.%d":{"name":"demo","version":"1.0.%d","description":"what it is for","main":"index.js","scripts":{"test":"node --test"},`+
			`"repository":{"type":"git","url":"git+https://example.org/demo/demo.git"},"keywords":["a","b","c"],"author":{"name":"A. Uthor"},"license":"MIT",`+
			`"dependencies":{"left":"^1.0.0","right":"^2.3.4","up":"~0.1.2"},"devDependencies":{"x":"1","y":"2","z":"3"},"gitHead":"%040x","_id":"demo@1.0.%d",`+
			`"_nodeVersion":"20.1.0","_npmVersion":"10.2.0","dist":{"integrity":"sha512-%086d==","shasum":"%040x","tarball":"https://registry.example.org/demo/-/demo-1.0.%d.tgz",`+
			`"fileCount":12,"unpackedSize":12345,"signatures":[{"keyid":"SHA256:%043d","sig":"%096d"}]},"_npmUser":{"name":"a","email":"a@example.org"},`+
			`"maintainers":[{"name":"a","email":"a@example.org"},{"name":"b","email":"b@example.org"}],"_hasShrinkwrap":false}`, n, n, n, n, n, n, n, n, n)
	}
	b.WriteString(`},"time":{"modified":"2024-01-01T00:00:00.000Z"},"readme":"`)
	b.WriteString(strings.Repeat(`# demo\n\nHow to \"use\" it.\n`, 1000))
	b.WriteString(`"}`)
	return b.Bytes()
}

func BenchmarkCopyJSON(b *testing.B) {
	text := packument(40 << 20)
	for _, bench := range []struct {
		name string
		rule func([]byte) ([]byte, error)
	}{
		{"keep", func(v []byte) ([]byte, error) { return v, nil }},
		{"change", shout},
	} {
		b.Run(bench.name, func(b *testing.B) {
			b.SetBytes(int64(len(text)))
			b.ReportAllocs()
			for b.Loop() {
				if err := hub.CopyJSON(io.Discard, bytes.NewReader(text), hub.JSONRules{"versions/*/dist/tarball": bench.rule}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// An index of any length is copied in a window (the demand is 64 MB).
func TestCopyJSONMemory(t *testing.T) {
	text := packument(8 << 20)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	began := time.Now()
	require.NoError(t, hub.CopyJSON(io.Discard, bytes.NewReader(text), hub.JSONRules{"versions/*/dist/tarball": shout}))
	t.Log(time.Since(began))
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(8<<20))
}
