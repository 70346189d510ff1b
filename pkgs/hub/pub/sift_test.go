package pub

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestRelease(t *testing.T) {
	at := time.Date(2021, 10, 7, 21, 23, 42, 789542000, time.UTC)
	for _, test := range []struct {
		name, text, version string
		at                  time.Time
	}{
		{"as repositories have it", `{"version":"0.4.6","pubspec":{},"published":"2021-10-07T21:23:42.789542Z"}`, "0.4.6", at},
		{"no date", `{"version":"0.4.6"}`, "0.4.6", time.Time{}},
		{"a date of another form", `{"version":"0.4.6","published":"yesterday"}`, "0.4.6", time.Time{}},
		{"no text", `{"version":1,"published":"2021-10-07T21:23:42.789542Z"}`, "", at},
		{"no object", `[]`, "", time.Time{}},
	} {
		t.Run(test.name, func(t *testing.T) {
			version, published := release([]byte(test.text))
			assert.Equal(t, test.version, version)
			assert.True(t, test.at.Equal(published), published)
		})
	}
}

// FuzzFields: an element of a listing may be anything; its fields are JSON, or it has
// none.
func FuzzFields(f *testing.F) {
	f.Add([]byte(`{"version":"1.0.0","archive_url":"https://mirror.example.org/dart-pub/packages/a/versions/1.0.0.tar.gz","archive_sha256":"00"}`))
	f.Add([]byte(`[1,{"archive_url":"x"}]`))
	f.Add([]byte(`{}],"versions":[{"version":"2"`))
	f.Fuzz(func(t *testing.T, text []byte) {
		fields, err := newHub().fields(text, "http://proxy.example.org/pub")
		if err != nil {
			assert.Empty(t, fields)
		}
		for name, value := range fields {
			assert.True(t, json.Valid(value), "%s: %s", name, value)
		}
		release(text)
	})
}
