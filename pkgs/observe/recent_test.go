package observe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestRecent(t *testing.T) {
	var out bytes.Buffer
	r := NewRecent(3)
	log := slog.New(r.Wrap(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelError})))
	assert.Empty(t, r.Records())
	log.Info("nothing to see")
	assert.Empty(t, r.Records())
	for i := range 5 {
		log.With("hub", "npm").WithGroup("g").Warn(fmt.Sprint("warned ", i), "err", errors.New("x"))
	}
	all := r.Records()
	require.Len(t, all, 3, "bounded")
	assert.Equal(t, "warned 4", all[0].Message, "the newest first")
	assert.Equal(t, "warned 2", all[2].Message)
	assert.Equal(t, "warn", all[0].Level)
	assert.Equal(t, map[string]string{"hub": "npm", "g.err": "x"}, all[0].Attributes)
	assert.Empty(t, out.String(), "the handler behind shows no warnings")
	log.Error("bad", "stack", strings.Repeat("ä", maxAttribute))
	assert.Contains(t, out.String(), "bad")
	assert.Less(t, len(r.Records()[0].Attributes["stack"]), maxAttribute+4)
	var many []any
	for i := range 100 {
		many = append(many, fmt.Sprint(i), i)
	}
	log.Error("many", many...)
	assert.Len(t, r.Records()[0].Attributes, maxAttributes)
	assert.False(t, log.Enabled(context.Background(), slog.LevelInfo))
	none := NewRecent(0)
	slog.New(none.Wrap(slog.DiscardHandler)).Error("x")
	assert.Empty(t, none.Records())
}
