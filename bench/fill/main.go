// Command fill makes a store of many small entries, as if a mirror with the
// objects of package object had been asked for all of them:
// /m/00/4096-0, /m/01/4096-1 and so on, in folders of a few thousand.
//
//	fill -dir data -n 1000000
package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"git.jeffthecoder.xyz/guochao/cache-proxy/bench/internal/object"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/store/disk"
)

func main() {
	dir := flag.String("dir", "data", "`directory` of the store")
	n := flag.Int64("n", 1_000_000, "entries")
	size := flag.Int64("size", 4<<10, "bytes of each")
	flag.Parse()
	if err := fill(*dir, *n, *size); err != nil {
		log.Fatal(err)
	}
}

func fill(dir string, n, size int64) (err error) {
	s, err := disk.Open(disk.Options{Root: dir})
	if err != nil {
		return err
	}
	defer func() {
		if cerr := s.Close(); err == nil {
			err = cerr
		}
	}()
	pattern := object.NewPattern()
	var next atomic.Int64
	errs := make(chan error, 4)
	var wg sync.WaitGroup
	for range cap(errs) {
		wg.Go(func() {
			for seed := next.Add(1) - 1; seed < n; seed = next.Add(1) - 1 {
				if err := put(s, pattern, size, seed); err != nil {
					errs <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(errs)
	return <-errs
}

func put(s *disk.Store, pattern object.Pattern, size, seed int64) error {
	path := object.Many(size, seed)
	o, err := pattern.At(path)
	if err != nil {
		return err
	}
	d, err := s.Draft(context.Background(), size)
	if err != nil {
		return err
	}
	defer d.Close()
	for off := int64(0); off < size; {
		m, err := d.WriteAt(o.Piece(off, size-off), off)
		if err != nil {
			return err
		}
		off += int64(m)
	}
	sum := o.SHA256()
	now := time.Now()
	return d.Commit(context.Background(), &exchange.Entry{
		Key: exchange.Key{Hub: "default", Path: path}, Status: http.StatusOK, Size: size,
		Header: http.Header{
			"Content-Type": {"application/octet-stream"}, "Etag": {fmt.Sprintf("%q", path)}, "Last-Modified": {"Tue, 02 Jan 2024 03:04:05 GMT"},
		},
		Digest: exchange.NewDigest("sha256", sum[:]), Mirror: "http://mirror.example.org/",
		Requested: now, Received: now, Stored: now,
	})
}
