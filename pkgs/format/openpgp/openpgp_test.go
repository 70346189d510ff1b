package openpgp

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestMade(t *testing.T) {
	// Version, type, algorithms; length of the hashed subpackets; these: a
	// fingerprint, a long one, and the time.
	body := "\x04\x00\x01\x0a\x00\xcf" + "\x02\x21\x04" + "\xc0\x01\x14" + strings.Repeat("n", 192) + "\x05\x82\x01\x02\x03\x04" + "\x02\x10\x00"
	body = strings.Replace(body, "\x00\xcf", "\x00"+string([]byte{byte(len(body) - 6)}), 1)
	for _, test := range []struct {
		name, packet string
		ok           bool
	}{
		{"old, one byte", "\x88\x99" + body, true},
		{"old, two", "\x89\x00\x99" + body, true},
		{"old, four", "\x8a\x00\x00\x00\x99" + body, true},
		{"old, without a length", "\x8b" + body, false},
		{"new, one byte", "\xc2\x99" + body, true},
		{"new, two", "\xc2\xc0\x99" + body, true},
		{"new, five", "\xc2\xff\x00\x00\x00\x99" + body, true},
		{"another packet", "\x99\x00\x99" + body, false},
		{"version 3", "\x88\x99\x03" + body[1:], false},
		{"no time", "\x88\x99\x04\x00\x01\x0a\x00\x03\x02\x21\x04", false},
		{"empty subpacket", "\x88\x99\x04\x00\x01\x0a\x00\x01\x00", false},
		{"beyond", "\x88\x99\x04\x00\x01\x0a\x00\x02\x09\x02", false},
		{"cut", "\x88\x99\x04\x00\x01\x0a\x01\x00", false},
		{"nothing", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			at, ok := Made([]byte(test.packet))
			assert.Equal(t, test.ok, ok)
			if ok {
				assert.Equal(t, int64(0x01020304), at)
			}
		})
	}
}

func FuzzMade(f *testing.F) {
	f.Add([]byte("\x88\x99\x04\x00\x01\x0a\x00\x01\x00"))
	f.Add([]byte("\x88\x0c\x04\x00\x01\x0a\x00\x06\x05\x02\x01\x02\x03\x04"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if at, ok := Made(b); ok {
			assert.True(t, 0 <= at && at < 1<<32)
		}
	})
}
