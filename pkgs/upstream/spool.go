package upstream

import (
	"errors"
	"io"
	"os"
)

// maxMemory is how much of a candidate's body stays in memory.
const maxMemory = 64 << 10

// A spool is the beginning of a body that competes by bandwidth: up to maxMemory
// bytes in memory, the rest before them in a file.
type spool struct {
	file   *os.File // nil: nothing was spooled
	stored int64    // bytes in file
	memory []byte   // those behind them
}

// collect reads the first chunk of the body, or all of it, so that bandwidth
// decides. A body that fails meanwhile fails the leg.
func (l *leg) collect() {
	l.received.Add(1)
	s := new(spool)
	rest := l.body
	l.body = &spooled{spool: s, rest: rest}
	size := 4 << 10
	if l.entry.Size >= 0 {
		size = int(min(l.entry.Size, maxMemory))
	}
	s.memory = make([]byte, 0, max(size, 1))
	for s.stored+int64(len(s.memory)) < l.firstChunk {
		if len(s.memory) == cap(s.memory) && !s.room(l.options.Spool) {
			return // no file to be had: it is decided by what fits in memory
		}
		into := s.memory[len(s.memory):cap(s.memory)]
		into = into[:min(int64(len(into)), l.options.Race.Chunk)]
		n, err := rest.Read(into)
		s.memory = s.memory[:len(s.memory)+n]
		l.received.Add(int64(n))
		if err == io.EOF {
			return // the body keeps its end
		}
		if err != nil {
			l.fail(err)
			l.body.Close()
			return
		}
	}
}

// room makes room in memory, which is full.
func (s *spool) room(open func() (*os.File, error)) bool {
	if cap(s.memory) < maxMemory {
		grown := make([]byte, len(s.memory), min(4*cap(s.memory), maxMemory))
		copy(grown, s.memory)
		s.memory = grown
		return true
	}
	if open == nil {
		return false
	}
	if s.file == nil {
		f, err := open()
		if err != nil {
			return false
		}
		s.file = f
	}
	if _, err := s.file.WriteAt(s.memory, s.stored); err != nil {
		return false // what is in memory stays there
	}
	s.stored += int64(len(s.memory))
	s.memory = s.memory[:0]
	return true
}

// A spooled body is a spool and then the rest of the stream.
type spooled struct {
	*spool
	from int64 // read of the file
	rest io.ReadCloser
}

func (s *spooled) Read(p []byte) (int, error) {
	if s.from < s.stored {
		n, err := s.file.ReadAt(p[:min(int64(len(p)), s.stored-s.from)], s.from)
		s.from += int64(n)
		if n > 0 {
			err = nil
		} else if err == io.EOF {
			err = io.ErrUnexpectedEOF // of a file that only we know
		}
		return n, err
	}
	if len(s.memory) > 0 {
		n := copy(p, s.memory)
		if s.memory = s.memory[n:]; len(s.memory) == 0 {
			s.memory = nil
		}
		return n, nil
	}
	return s.rest.Read(p)
}

func (s *spooled) Close() error {
	err := s.rest.Close()
	if s.file != nil {
		err = errors.Join(err, s.file.Close())
	}
	return err
}
