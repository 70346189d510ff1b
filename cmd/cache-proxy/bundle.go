package main

import (
	"archive/tar"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A bundle is a tar archive. Its first member says what it is; then comes, for each
// entry, its JSON and its content; the last member says how many there were, so that
// half a bundle is noticed. Every entry has a digest.
const (
	bundleHead    = "cache-proxy-bundle.json"
	bundleEntry   = "entry.json" // of N/entry.json
	bundleContent = "content"    // of N/content
	bundleEnd     = "end.json"

	bundleVersion = 1
	maxBundleJSON = 4 << 20 // of a member of JSON
)

type bundle struct {
	Version int       `json:"version"`
	Since   time.Time `json:"since,omitzero"`
	Made    time.Time `json:"made"`
}

// A tally is what was brought over.
type tally struct {
	Entries int64 `json:"entries"`
	Bytes   int64 `json:"bytes"`
	Skipped int64 `json:"skipped,omitzero"` // that the store has as new

	damaged int64 // that were left out
}

func (t tally) String() string {
	return fmt.Sprintf("%d entries, %s", t.Entries, size(float64(t.Bytes)))
}

func (p *invocation) exportCommand() *cobra.Command {
	since, asJSON := "", false
	c := &cobra.Command{
		Use:   "export FILE [HUB|HUB:/PATH|URL]",
		Short: "Write what came since a date into a bundle, for a machine behind an air gap",
		Long: `Writes entries and their content into a tar archive, each with its digest; FILE - is the
standard output. With --since only those that a mirror has sent or confirmed since then.
It reads the data directory, whether a server runs or not, and proves each digest on the
way: what is damaged is left out, said, and makes the exit status 1; the bundle is good.

` + selection,
		Example: `  cache-proxy export --since 2026-03-01 march.tar
  cache-proxy export --since 36h - debian | ssh lab cache-proxy import -`,
		Args: between(1, 2),
		RunE: func(_ *cobra.Command, args []string) error {
			from, err := parseSince(since, time.Now())
			if err != nil {
				return misused(err)
			}
			return p.look(func(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf) error {
				hub, prefix, err := selected(c, first(args[1:]))
				if err != nil {
					return err
				}
				done, err := p.exportTo(ctx, s, args[0], hub, prefix, from)
				switch {
				case err != nil:
					return err
				case asJSON && args[0] != "-":
					err = p.writeJSON(done)
				default:
					fmt.Fprintln(p.stderr, done)
				}
				if err == nil && done.damaged > 0 {
					err = failed(exitFailed, nil)
				}
				return err
			})
		},
	}
	c.Flags().StringVar(&since, "since", "", "`date` (2026-03-01), time (2026-03-01T12:00:00Z) or age (36h, 7d); default everything")
	c.Flags().BoolVar(&asJSON, "json", false, "print what was written as JSON")
	return c
}

// parseSince reads a date, a time or an age; "" is the zero time.
func parseSince(s string, now time.Time) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	age, err := cacheproxy.ParseDuration(s)
	if err != nil {
		return time.Time{}, fmt.Errorf("--since %q is no date, time or age", s)
	}
	return now.Add(-age), nil
}

// exportTo writes a file that appears when it is whole, or the standard output.
func (p *invocation) exportTo(ctx context.Context, s *cacheproxy.Shelf, name, hub, prefix string, since time.Time) (_ tally, err error) {
	if name == "-" {
		return p.export(ctx, s, p.stdout, hub, prefix, since)
	}
	f, err := os.OpenFile(name+".part", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return tally{}, err
	}
	done, err := p.export(ctx, s, f, hub, prefix, since)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(name+".part", name)
	}
	if err != nil {
		os.Remove(name + ".part")
	}
	return done, err
}

func (p *invocation) export(ctx context.Context, s *cacheproxy.Shelf, to io.Writer, hub, prefix string, since time.Time) (done tally, err error) {
	bar := p.newBar(-1, "exporting", true)
	defer bar.finish()
	w := tar.NewWriter(to)
	if err := writeMember(w, bundleHead, bundle{bundleVersion, since, time.Now().UTC().Truncate(time.Second)}); err != nil {
		return done, err
	}
	for e, err := range s.Entries(ctx, hub, prefix) {
		if err != nil {
			return done, err
		}
		if e.Received.Before(since) && e.Stored.Before(since) {
			continue
		}
		n, err := p.exportEntry(ctx, s, w, e.Key, done.Entries, bar)
		switch {
		case errors.Is(err, fs.ErrNotExist): // it went meanwhile
			continue
		case err != nil:
			return done, err
		case n >= 0:
			done.Entries++
			done.Bytes += n
		default:
			done.damaged++
		}
	}
	if err := writeMember(w, bundleEnd, done); err != nil {
		return done, err
	}
	return done, w.Close()
}

// exportEntry writes an entry and its content, whose length it returns; -1 if that
// is damaged, which is said. It is read twice, so that nothing else is ever written.
func (p *invocation) exportEntry(ctx context.Context, s *cacheproxy.Shelf, w *tar.Writer, key cacheproxy.Key, number int64, bar bar) (int64, error) {
	e, content, err := s.Open(ctx, key)
	if err != nil {
		return 0, err
	}
	defer content.Close()
	sum, n, err := digestOf(e.Digest, content)
	switch {
	case err != nil:
		return 0, err
	case n != e.Size || e.Digest != "" && sum != e.Digest:
		fmt.Fprintf(p.stderr, "%v is damaged, and left out\n", key)
		return -1, nil
	}
	if _, err := content.Seek(0, io.SeekStart); err != nil {
		return 0, err
	}
	c := *e
	c.Digest = sum
	at := strconv.FormatInt(number, 10) + "/"
	if err := writeMember(w, at+bundleEntry, c); err != nil {
		return 0, err
	}
	if err := w.WriteHeader(&tar.Header{Name: at + bundleContent, Mode: 0o644, Size: n, ModTime: e.Received}); err != nil {
		return 0, err
	}
	copied, err := io.Copy(w, io.LimitReader(content, n))
	bar.add(copied)
	return n, err
}

// digestOf reads content to its end, for its digest by the algorithm of like.
func digestOf(like cacheproxy.Digest, content io.Reader) (sum cacheproxy.Digest, n int64, err error) {
	algorithm := "sha256"
	if like != "" {
		algorithm = like.Algorithm()
	}
	h := cacheproxy.Digest(algorithm + ":").New()
	if h == nil {
		return "", 0, fmt.Errorf("digest %q is of no known algorithm", like)
	}
	n, err = io.Copy(h, content)
	return cacheproxy.Digest(fmt.Sprintf("%s:%x", algorithm, h.Sum(nil))), n, err
}

func writeMember(w *tar.Writer, name string, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text))}); err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

// A taker is where a bundle goes.
type taker interface {
	Open(context.Context, cacheproxy.Key) (*cacheproxy.Entry, io.ReadSeekCloser, error)
	Put(context.Context, *cacheproxy.Entry, io.Reader) error
}

// importBundle takes over what a bundle has and the store has not, or has older.
// What is wrong with it ends it; what came before stays, since it was proved.
func importBundle(ctx context.Context, to taker, from io.Reader, bar bar) (done tally, err error) {
	r := tar.NewReader(from)
	var head bundle
	if err := readMember(r, bundleHead, &head); err != nil {
		return done, fmt.Errorf("no bundle: %w", err)
	}
	if head.Version != bundleVersion {
		return done, fmt.Errorf("a bundle of version %d, which this program does not know", head.Version)
	}
	for n := int64(0); ; n++ {
		h, err := r.Next()
		if err != nil {
			return done, fmt.Errorf("the bundle is cut short: %w", notEOF(err))
		}
		at := strconv.FormatInt(n, 10) + "/"
		if h.Name == bundleEnd {
			var end tally
			if err := decodeMember(r, h, &end); err != nil {
				return done, err
			}
			if end.Entries != n {
				return done, fmt.Errorf("%d entries in the bundle, want %d", n, end.Entries)
			}
			return done, nil
		}
		var e cacheproxy.Entry
		if h.Name != at+bundleEntry {
			return done, fmt.Errorf("member %q in the place of %s", h.Name, at+bundleEntry)
		}
		if err := decodeMember(r, h, &e); err != nil {
			return done, err
		}
		if h, err = r.Next(); err != nil || h.Name != at+bundleContent || h.Size != e.Size {
			return done, fmt.Errorf("the bundle has no content of %v: %w", e.Key, notEOF(err))
		}
		if err := importEntry(ctx, to, &e, r, bar, &done); err != nil {
			return done, err
		}
	}
}

func importEntry(ctx context.Context, to taker, e *cacheproxy.Entry, content io.Reader, bar bar, done *tally) error {
	if e.Key.Hub == "" || len(e.Key.Path) == 0 || e.Key.Path[0] != '/' || e.Digest == "" || e.Size < 0 || e.Status < 200 || e.Status > 599 {
		return fmt.Errorf("%v: no entry of a store", e.Key)
	}
	have, open, err := to.Open(ctx, e.Key)
	if err == nil {
		open.Close()
		if !have.Received.Before(e.Received) {
			done.Skipped++
			return nil
		}
	}
	if err := to.Put(ctx, e, content); err != nil {
		return err
	}
	bar.add(e.Size)
	done.Entries++
	done.Bytes += e.Size
	return nil
}

func readMember(r *tar.Reader, name string, to any) error {
	h, err := r.Next()
	if err != nil {
		return notEOF(err)
	}
	if h.Name != name {
		return fmt.Errorf("it begins with %q", h.Name)
	}
	return decodeMember(r, h, to)
}

func decodeMember(r io.Reader, h *tar.Header, to any) error {
	if h.Size > maxBundleJSON {
		return fmt.Errorf("%s has %d bytes", h.Name, h.Size)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", h.Name, err)
	}
	return nil
}

// notEOF is err, where an end is one too early.
func notEOF(err error) error {
	if err == nil {
		return errors.New("another member in its place")
	}
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
