package cacheproxy

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"
	"syscall"
)

const maxSecret = 64 << 10

// Secret is a value that no log, error or printed configuration shows: a string,
// or {file: /run/secrets/x}, whose content it is without the newlines at its end.
// The file must not be readable by everyone. Only Value reveals it.
type Secret struct {
	value string
	file  string // where it came from; "" if it stood in the configuration
}

// Value is the secret itself; "" if there is none.
func (s Secret) Value() string { return s.value }

// IsSet reports whether there is a secret.
func (s Secret) IsSet() bool { return s.value != "" }

// String hides the secret.
func (s Secret) String() string {
	if s.value == "" {
		return ""
	}
	return "******"
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return fmt.Sprintf("Secret(%q)", s.String()) }

// LogValue hides the secret from logs.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

func (s *Secret) set(value string) error {
	*s = Secret{value: value}
	return nil
}

func (s *Secret) read(name string) error {
	f, err := os.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a FIFO must not hold up the start
	if err != nil {
		return err
	}
	defer f.Close()
	stat, err := f.Stat()
	if err != nil {
		return err
	}
	if !stat.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file", name)
	}
	if stat.Mode().Perm()&0o004 != 0 {
		return fmt.Errorf("%s is readable by everyone (mode %04o); run chmod o-r on it", name, stat.Mode().Perm())
	}
	b, err := io.ReadAll(io.LimitReader(f, maxSecret+1))
	if err != nil {
		return err
	}
	if len(b) > maxSecret {
		return fmt.Errorf("%s is larger than %v", name, Size(maxSecret))
	}
	value := strings.TrimRight(string(b), "\r\n")
	if value == "" {
		return errors.New(name + " is empty")
	}
	*s = Secret{value: value, file: name}
	return nil
}

// NewSecret is the secret with that value.
func NewSecret(value string) Secret { return Secret{value: value} }
