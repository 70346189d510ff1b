package cacheproxy

import (
	"encoding/json"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/assert"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/observe"
)

// What panics, or makes no JSON, says so, and nothing else is the worse for it.
func TestStatusShielded(t *testing.T) {
	recent := observe.NewRecent(10)
	s := &Server{log: slog.New(recent.Wrap(slog.DiscardHandler))}
	for _, c := range []struct {
		name   string
		status func() any
		want   string
	}{
		{"well", func() any { return map[string]int{"n": 1} }, `{"n":1}`},
		{"panics", func() any { panic("boom") }, `{"error":"panic: boom"}`},
		{"panics in JSON", func() any { return bad{} }, `{"error":"panic: no JSON"}`},
		{"is no JSON", func() any { return func() {} }, `{"error":"json: unsupported type: func()"}`},
	} {
		text, err := json.Marshal(s.shielded("filter", c.name, c.status))
		assert.NoError(t, err)
		assert.JSONEq(t, c.want, string(text), c.name)
	}
	assert.Len(t, recent.Records(), 2, "panics are errors in the log")
}

type bad struct{}

func (bad) MarshalJSON() ([]byte, error) { panic("no JSON") }

func TestStatusFileConfig(t *testing.T) {
	for _, every := range []string{"0s", "never", "-1s"} {
		_, _, err := parse("config.yaml", []byte("status-file: {path: x, every: "+every+"}"))
		assert.ErrorContains(t, err, "config.yaml:1: status-file.every: ", every)
	}
}

func TestTracesConfig(t *testing.T) {
	for text, path := range map[string]string{
		"endpoint: 'ftp://x/y'": "endpoint", "percent: 101": "percent", "percent: -1": "percent", "headers: {'a b': c}": `headers."a b"`,
	} {
		_, _, err := parse("config.yaml", []byte("traces: {"+text+"}"))
		assert.ErrorContains(t, err, "config.yaml:1: traces."+path+": ", text)
	}
	was, is := defaults(), defaults()
	is.Traces.Percent = 1
	assert.ErrorContains(t, unchangeable(was, is), "traces: "+unchanging)
}
