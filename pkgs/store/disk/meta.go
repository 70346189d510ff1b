package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"net/http"
	"os"
	"path"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// Metadata is the JSON of an [exchange.Entry]. It travels with the content as an
// extended attribute. Where that cannot be had, or is too small, a sidecar holds
// it, whose name tells the inode, size and modification time of the content it
// belongs to: old content never meets new metadata, nor the reverse, and both
// sidecars may lie side by side while one replaces the other.
const (
	attribute  = "user.cache-proxy"
	sidecarDir = metaDir + "/entry"
	maxMeta    = 1 << 20 // of a sidecar; headers are limited far below
)

var (
	errNoMeta  = errors.New("no metadata")
	errDamaged = errors.New("damaged")
)

// decodeEntry is the entry that metadata b of a file of this size tells.
func decodeEntry(b []byte, size int64) (*exchange.Entry, error) {
	e, err := unmarshalEntry(b)
	if err != nil {
		return nil, fmt.Errorf("%w: metadata: %w", errDamaged, err)
	}
	if e.Status < 100 || e.Status > 999 || e.Key.Path == "" {
		return nil, fmt.Errorf("%w: metadata of no entry", errDamaged)
	}
	if e.Size != size {
		return nil, fmt.Errorf("%w: %d bytes, want %d", errDamaged, size, e.Size)
	}
	return e, nil
}

// bareEntry is the entry of a file without metadata, such as rsync leaves.
func bareEntry(key exchange.Key, st stat) *exchange.Entry {
	e := &exchange.Entry{
		Key:      key,
		Status:   http.StatusOK,
		Header:   http.Header{"Last-Modified": {st.mtime.UTC().Format(http.TimeFormat)}},
		Size:     st.size,
		Received: st.mtime,
	}
	p, _, _ := strings.Cut(key.Path, "?")
	if t := mime.TypeByExtension(path.Ext(p)); t != "" {
		e.Header.Set("Content-Type", t)
	}
	return e
}

var attributeBuffers = sync.Pool{New: func() any { return new([4096]byte) }}

// readMeta is the entry of an open file: errNoMeta if it has none, errDamaged if
// that does not describe it.
func (s *Store) readMeta(file *os.File, st stat) (*exchange.Entry, error) {
	buffer := attributeBuffers.Get().(*[4096]byte)
	defer attributeBuffers.Put(buffer)
	b := buffer[:]
	n := 0
	err := control(file, func(fd int) (err error) {
		if n, err = unix.Fgetxattr(fd, attribute, b); err == unix.ERANGE {
			b = make([]byte, 64<<10)
			n, err = unix.Fgetxattr(fd, attribute, b)
		}
		return err
	})
	if err == nil {
		return s.recent.decode(b[:n], st.size)
	}
	if !noAttribute(err) {
		return nil, fmt.Errorf("getxattr: %w", err)
	}
	if !s.sidecars.Load() {
		return nil, errNoMeta
	}
	sidecar, err := s.root.Open(sidecarName(st))
	if missing(err) {
		return nil, errNoMeta
	}
	if err != nil {
		return nil, err
	}
	defer sidecar.Close()
	if b, err = io.ReadAll(io.LimitReader(sidecar, maxMeta)); err != nil {
		return nil, err
	}
	return decodeEntry(b, st.size)
}

// writeMeta puts e onto a file; its size and modification time are final. It
// stays where the file has it already, so that a reader always finds one.
func (s *Store) writeMeta(file *os.File, e *exchange.Entry) error {
	b, err := marshalEntry(e)
	if err != nil {
		return err
	}
	beside := false
	if s.sidecars.Load() {
		st, err := statFile(file)
		if err != nil {
			return err
		}
		beside = s.hasSidecar(st)
	}
	if !s.noXattr.Load() && !beside {
		err := control(file, func(fd int) error { return unix.Fsetxattr(fd, attribute, b, 0) })
		if err == nil {
			return nil
		}
		if noAttributes(err) {
			s.noXattr.Store(true) // the whole file system has none
		} else if !attributeTooLong(err) {
			return fmt.Errorf("setxattr: %w", err)
		}
	}
	st, err := statFile(file)
	if err != nil {
		return err
	}
	if err := s.writeSidecar(sidecarName(st), b); err != nil {
		return err
	}
	// An attribute that did not suffice any more would win over the sidecar.
	err = control(file, func(fd int) error { return unix.Fremovexattr(fd, attribute) })
	if err != nil && !noAttribute(err) {
		return fmt.Errorf("removexattr: %w", err)
	}
	return nil
}

func (s *Store) hasSidecar(st stat) bool {
	if !s.sidecars.Load() {
		return false
	}
	_, err := s.root.Lstat(sidecarName(st))
	return err == nil
}

func (s *Store) writeSidecar(name string, b []byte) error {
	s.sidecars.Store(true)
	temp, file, err := s.createTemp()
	if err != nil {
		return err
	}
	_, err = file.Write(b)
	if err == nil && s.strict {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		if err = s.root.Rename(temp, name); errors.Is(err, fs.ErrNotExist) {
			if err = s.root.MkdirAll(path.Dir(name), 0o755); err == nil {
				err = s.root.Rename(temp, name)
			}
		}
	}
	if err != nil {
		s.discard(temp)
		return err
	}
	if s.strict {
		return s.syncDir(path.Dir(name))
	}
	return nil
}

// removeSidecar forgets the sidecar of a file that is gone.
func (s *Store) removeSidecar(st stat) {
	if s.sidecars.Load() {
		s.root.Remove(sidecarName(st)) // it may have none; an orphan is removed by the next scan
	}
}

// sidecarName is where the sidecar of the file lies.
func sidecarName(st stat) string {
	b := make([]byte, 0, len(sidecarDir)+64)
	b = append(b, sidecarDir+"/"...)
	b = appendHex2(b, byte(st.ino))
	b = append(b, '/')
	b = strconv.AppendUint(b, st.ino, 16)
	b = append(b, '-')
	b = strconv.AppendInt(b, st.size, 16)
	b = append(b, '-')
	b = strconv.AppendInt(b, st.mtime.UnixNano(), 16)
	return string(b)
}

func appendHex2(b []byte, c byte) []byte {
	const digits = "0123456789abcdef"
	return append(b, digits[c>>4], digits[c&15])
}

// modified is the origin's Last-Modified, if it sent a valid one.
func modified(e *exchange.Entry) (time.Time, bool) {
	t, err := http.ParseTime(e.Header.Get("Last-Modified"))
	return t, err == nil && t.Unix() > 0
}

func noAttributes(err error) bool {
	return errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EPERM)
}

func attributeTooLong(err error) bool {
	// ENOSPC is ext4's word for it; on a full disk the sidecar fails as well.
	return errors.Is(err, unix.E2BIG) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EDQUOT)
}
