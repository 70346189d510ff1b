package filter

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/crypto/bcrypt"
)

const maxFile = 4 << 20 // bytes of a file of users or keys

// A stamp tells states of a file apart. The zero stamp is of one that is not there.
type stamp struct {
	modified time.Time
	size     int64
	inode    uint64 // whoever replaces a file may keep its time, or be within a tick of it
}

func stampOf(name string) stamp {
	stat, err := os.Stat(name)
	if err != nil {
		return stamp{}
	}
	s := stamp{modified: stat.ModTime(), size: stat.Size()}
	if sys, ok := stat.Sys().(*syscall.Stat_t); ok {
		s.inode = sys.Ino
	}
	return s
}

// readFile is the content of a file of at most maxFile bytes.
func readFile(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, err
	case len(text) > maxFile:
		return nil, fmt.Errorf("%s is larger than 4 MiB", name)
	}
	return text, nil
}

func readHtpasswd(name string) (map[string][]byte, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	users, err := parseHtpasswd(text)
	if err != nil {
		return nil, fmt.Errorf("%s:%w", name, err)
	}
	return users, nil
}

// parseHtpasswd reads lines of user:hash. Blank lines and those that begin with #
// count for nothing. Hashes are bcrypt's: the others that htpasswd makes can be
// guessed by the million a second.
func parseHtpasswd(text []byte) (map[string][]byte, error) {
	users := map[string][]byte{}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		user, hash, ok := strings.Cut(line, ":")
		if !ok || user == "" {
			return nil, fmt.Errorf("%d: want user:hash", n)
		}
		if _, err := bcrypt.Cost([]byte(hash)); err != nil || len(hash) != 60 {
			return nil, fmt.Errorf("%d: the hash of %s is not bcrypt's; make it by htpasswd -B", n, user)
		}
		if users[user] != nil {
			return nil, fmt.Errorf("%d: %s is there twice", n, user)
		}
		users[user] = []byte(hash)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf(" %w", err)
	}
	return users, nil
}
