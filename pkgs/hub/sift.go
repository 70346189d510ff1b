package hub

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// A Dater is a Hub whose indexes tell when versions were published. Its Rewrite
// shows in an index what the request's Sieve does.
type Dater interface {
	// Published is when the version that req names was published, by the index that
	// next has; the zero time if that does not say.
	Published(ctx context.Context, next exchange.Source, req *exchange.Request) (time.Time, error)
}

// maxSifted is how large an element may be that is looked at, in bytes.
const maxSifted = 8 << 20

// SiftJSON copies the JSON object in src to dst, less what the functions take out
// of its members. The one of a member's name is called for each element of the
// object or array that the member is, with the element's name (none in an array)
// and text, and returns what is written in its place: nil for nothing. A member
// that is neither is offered whole, under no name. Text is valid until it returns.
//
// Everything else stays as it is, but for blanks between elements and the escapes
// of names. One element is held in memory at a time.
func SiftJSON(dst io.Writer, src io.Reader, edits map[string]func(name string, text []byte) []byte) error {
	s := &sifter{dst: dst}
	s.dec = json.NewDecoder(&siftReader{src, s})
	if err := s.object(func(name string) error {
		edit := edits[name]
		if edit == nil {
			return s.copy()
		}
		return s.member(edit)
	}); err != nil {
		return err
	}
	if _, err := s.dec.Token(); !errors.Is(err, io.EOF) {
		return errors.Join(errors.New("more than one JSON value"), err)
	}
	return s.err
}

// A sifter reads by dec and writes to dst.
type sifter struct {
	dec  *json.Decoder
	dst  io.Writer
	raw  json.RawMessage
	read int64 // from src
	err  error // of dst
}

// siftReader bounds what dec has to hold.
type siftReader struct {
	src io.Reader
	s   *sifter
}

func (r *siftReader) Read(p []byte) (int, error) {
	room := r.s.dec.InputOffset() + maxSifted - r.s.read
	if room <= 0 {
		return 0, fmt.Errorf("an element of more than %d bytes", maxSifted)
	}
	p = p[:min(int64(len(p)), room)]
	n, err := r.src.Read(p)
	r.s.read += int64(n)
	return n, err
}

func (s *sifter) write(text ...[]byte) {
	for _, t := range text {
		if s.err == nil {
			_, s.err = s.dst.Write(t)
		}
	}
}

// object copies an object, the value of each member by what value does.
func (s *sifter) object(value func(name string) error) error {
	if t, err := s.dec.Token(); err != nil || t != json.Delim('{') {
		return errors.Join(errors.New("no JSON object"), err)
	}
	s.write([]byte("{"))
	for first := true; s.dec.More() && s.err == nil; first = false {
		t, err := s.dec.Token()
		if err != nil {
			return err
		}
		name, _ := t.(string)
		if !first {
			s.write([]byte(","))
		}
		s.write(AppendJSONString(nil, []byte(name)), []byte(":"))
		if err := value(name); err != nil {
			return err
		}
	}
	_, err := s.dec.Token()
	s.write([]byte("}"))
	return errors.Join(err, s.err)
}

// copy copies one value.
func (s *sifter) copy() error {
	s.raw = s.raw[:0]
	if err := s.dec.Decode(&s.raw); err != nil {
		return err
	}
	s.write(s.raw)
	return nil
}

// member copies one value by its elements.
func (s *sifter) member(edit func(name string, text []byte) []byte) error {
	// Only a token tells what the value is, and takes the first of it.
	t, err := s.dec.Token()
	if err != nil {
		return err
	}
	open, ok := t.(json.Delim)
	if !ok {
		text, err := json.Marshal(t)
		if err != nil {
			return err
		}
		if text = edit("", text); text == nil {
			text = []byte("null")
		}
		s.write(text)
		return nil
	}
	s.write([]byte(open.String()))
	for first := true; s.dec.More() && s.err == nil; {
		name := ""
		if open == '{' {
			t, err := s.dec.Token()
			if err != nil {
				return err
			}
			name, _ = t.(string)
		}
		s.raw = s.raw[:0]
		if err := s.dec.Decode(&s.raw); err != nil {
			return err
		}
		text := edit(name, s.raw)
		if text == nil {
			continue
		}
		if !first {
			s.write([]byte(","))
		}
		first = false
		if open == '{' {
			s.write(AppendJSONString(nil, []byte(name)), []byte(":"))
		}
		s.write(text)
	}
	_, err = s.dec.Token()
	s.write([]byte{byte(open) + 2}) // "{" and "}", "[" and "]" are two apart
	return errors.Join(err, s.err)
}

// Piped is first, and then second with what that writes. It ends when both have.
func Piped(dst io.Writer, src io.Reader, first, second Edit) error {
	pr, pw := io.Pipe()
	done := make(chan error, 1)
	go func() { // ends with first, which ends when nobody reads
		err := guarded(first, pw, src)
		pw.CloseWithError(err)
		done <- err
	}()
	err := second(dst, pr)
	pr.CloseWithError(err)
	if failed := <-done; err == nil {
		err = failed
	}
	return err
}
