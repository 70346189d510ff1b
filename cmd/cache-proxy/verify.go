package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// A scrubbing is what verify has found.
type scrubbing struct {
	Files    int64     `json:"files"`
	Bytes    int64     `json:"bytes"`
	Unproven int64     `json:"unproven"` // without a digest: nobody knows what they should be
	Damaged  []damaged `json:"damaged"`
}

type damaged struct {
	File    string `json:"file"` // below the data directory
	Key     string `json:"key,omitempty"`
	Reason  string `json:"reason"`
	Deleted bool   `json:"deleted"`
}

func (p *invocation) verifyCommand() *cobra.Command {
	remove, asJSON := false, false
	c := &cobra.Command{
		Use:   "verify [HUB|HUB:/PATH|URL]",
		Short: "Read what is stored and say what is not as it should be",
		Long: `Reads every stored file and compares length and digest with what was stored. It may run
beside a server. Files without metadata (that rsync left, say) have nothing to be compared
with, and count as unproven. With --delete damaged files are removed, so that the next
request fetches them anew.

` + selection,
		Example: `  cache-proxy verify
  cache-proxy verify --delete debian`,
		Args:              between(0, 1),
		ValidArgsFunction: p.hubNames,
		RunE: func(_ *cobra.Command, args []string) error {
			return p.look(func(ctx context.Context, c *cacheproxy.Config, s *cacheproxy.Shelf) error {
				hub, prefix, err := selected(c, first(args))
				if err != nil {
					return err
				}
				found, err := p.verify(ctx, s, hub, prefix, remove)
				if asJSON {
					err = errors.Join(err, p.writeJSON(found))
				} else {
					p.printScrubbing(found)
				}
				if err == nil && len(found.Damaged) > 0 {
					err = failed(exitFailed, nil)
				}
				return err
			})
		},
	}
	c.Flags().BoolVar(&remove, "delete", false, "remove damaged files")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// verify reads files. What it found until an error counts too.
func (p *invocation) verify(ctx context.Context, s *cacheproxy.Shelf, hub, prefix string, remove bool) (*scrubbing, error) {
	found := &scrubbing{Damaged: []damaged{}}
	total := int64(-1)
	if isTerminal(p.stderr) {
		total = 0
		if err := s.Files(ctx, hub, prefix, func(f *cacheproxy.File) error {
			total += f.Size
			return nil
		}); err != nil {
			return found, err
		}
	}
	bar := p.newBar(total, "verifying", true)
	defer bar.finish()
	err := s.Files(ctx, hub, prefix, func(f *cacheproxy.File) error {
		found.Files++
		found.Bytes += f.Size
		err := f.Damage
		if err == nil && f.Entry.Digest == "" {
			found.Unproven++
			bar.add(f.Size)
			return nil
		}
		if err == nil {
			if err = compare(ctx, f, bar); ctx.Err() != nil {
				return ctx.Err()
			}
		}
		if err == nil {
			return nil
		}
		d := damaged{File: f.At, Reason: err.Error()}
		if f.Entry != nil {
			d.Key = f.Entry.Key.String()
		}
		if remove {
			if err := s.Remove(f); err != nil {
				return err
			}
			d.Deleted = true
		}
		found.Damaged = append(found.Damaged, d)
		return nil
	})
	return found, err
}

// compare reads a file; an error says why it is not its entry's content.
func compare(ctx context.Context, f *cacheproxy.File, bar bar) error {
	h := f.Entry.Digest.New()
	if h == nil {
		return fmt.Errorf("digest %q is of no known algorithm", f.Entry.Digest)
	}
	buffer, n := make([]byte, 256<<10), int64(0)
	for ctx.Err() == nil {
		m, err := f.Read(buffer)
		h.Write(buffer[:m])
		n += int64(m)
		bar.add(int64(m))
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	switch sum := fmt.Sprintf("%x", h.Sum(nil)); {
	case n != f.Entry.Size:
		return fmt.Errorf("%d bytes, want %d", n, f.Entry.Size)
	case sum != f.Entry.Digest.Hex():
		return fmt.Errorf("content is %s, want %s", sum, f.Entry.Digest.Hex())
	}
	return nil
}

func (p *invocation) printScrubbing(found *scrubbing) {
	for _, d := range found.Damaged {
		what := "damaged"
		if d.Deleted {
			what = "removed"
		}
		fmt.Fprintf(p.stdout, "%s %s: %s\n", what, d.File, strings.TrimPrefix(d.Reason, "damaged: "))
	}
	fmt.Fprintf(p.stdout, "%d files, %s, %d damaged, %d without a digest\n", found.Files, size(float64(found.Bytes)), len(found.Damaged), found.Unproven)
}
