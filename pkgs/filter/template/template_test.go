package template

import (
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/filter"
)

func TestHours(t *testing.T) {
	var now time.Time
	env := filter.Env{Name: "h", Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return now }}
	k := Hours()
	options := k.Options().(*Options)
	options.To, options.Wait = 17, time.Hour
	f, err := k.New(options, env)
	require.NoError(t, err)
	for hour, want := range map[int]string{7: "closed", 8: "", 16: "", 17: "closed", 23: "closed"} {
		now = time.Date(2026, 1, 1, hour, 59, 0, 0, time.UTC)
		x := &filter.Exchange{Request: &exchange.Request{}}
		assert.Equal(t, want, f.Handle(t.Context(), x), hour)
		if _, err := x.Answered(); want != "" {
			assert.Equal(t, time.Hour, err.(*exchange.Error).RetryAfter)
		}
	}
	assert.Equal(t, map[string]int64{"refused": 3}, f.Status())
	heir, err := k.New(options, env)
	require.NoError(t, err)
	heir.(filter.Heir).Inherit(f)
	assert.Equal(t, f.Status(), heir.Status())
}

func TestOptions(t *testing.T) {
	for _, o := range []Options{{From: 8, To: 8}, {From: -1, To: 8}, {From: 8, To: 25}} {
		refused := ""
		o.Check(func(path, _ string, _ ...any) { refused = path })
		assert.Equal(t, "to", refused)
	}
	(&Options{To: 24}).Check(func(string, string, ...any) { t.Error("a whole day is one") })
}
