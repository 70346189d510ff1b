package edge

import (
	"io"
	"net/http"
	"strconv"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/freshness"
)

// respond writes the response to r. An error means that it was begun and cannot
// be completed.
func (e *edge) respond(w *writer, r *http.Request, req *exchange.Request, resp *exchange.Response) error {
	if req.Wire != nil {
		return e.relay(w, r, resp)
	}
	h, entry := w.Header(), resp.Entry
	body, ranged := resp.Body.(io.ReadSeeker)
	// The empty body of a HEAD says nothing of the GET's.
	ranged = (ranged || req.Head) && entry.Size >= 0 && entry.Status == http.StatusOK
	e.header(h, req, resp, ranged)
	w.flush = !resp.Outcome.Hit
	if entry.Status != http.StatusOK {
		return e.replay(w, r, req, resp)
	}

	switch precondition(r.Header, h) {
	case http.StatusNotModified:
		dropContent(h)
		w.WriteHeader(http.StatusNotModified)
		return nil
	case http.StatusPreconditionFailed:
		dropContent(h)
		e.refused("precondition")
		e.writeError(w, r, http.StatusPreconditionFailed, "")
		return nil
	}
	if !req.Head {
		if e.accelerate(w, r, resp.Body) {
			return nil
		}
		// Ranges are defined for GET only (RFC 9110 §14.2), and not for two fields of them.
		if field := r.Header["Range"]; ranged && len(field) == 1 && ifRange(r.Header, h) {
			ranges, err := parseRange(field[0], entry.Size, e.Limits.Ranges)
			if err != nil {
				dropContent(h)
				e.refused("range")
				h["Content-Range"] = []string{"bytes */" + strconv.FormatInt(entry.Size, 10)}
				e.writeError(w, r, http.StatusRequestedRangeNotSatisfiable, "")
				return nil
			}
			if ranges != nil {
				return sendRanges(w, body, ranges, entry.Size)
			}
			if strings.Count(field[0], ",") >= e.Limits.Ranges {
				e.refused("ranges")
			}
		}
	}
	return sendWhole(w, r, resp)
}

// replay sends a response other than 200 as it came. An error without content of
// its own gets ours, since every error has some; so does every error of a
// [hub.Refuser], whose clients could not read a mirror's page, unless it is
// passed through.
func (e *edge) replay(w *writer, r *http.Request, req *exchange.Request, resp *exchange.Response) error {
	status := resp.Entry.Status
	if status >= 400 && (resp.Entry.Size <= 0 || e.Refuser != nil && req.Policy.Class != freshness.Passthrough) {
		dropContent(w.Header())
		e.writeError(w, r, status, "")
		return nil
	}
	if status == http.StatusNoContent || status == http.StatusNotModified {
		w.WriteHeader(status)
		return nil
	}
	return sendWhole(w, r, resp)
}

// smallBody is up to which size content leaves with its head.
const smallBody = copyPiece

func sendWhole(w *writer, r *http.Request, resp *exchange.Response) error {
	size := resp.Entry.Size
	if size > 0 && size <= smallBody && r.Method != http.MethodHead {
		w.together(r)
	}
	w.WriteHeader(resp.Entry.Status)
	if r.Method == http.MethodHead {
		return nil
	}
	err := copyBody(w, resp.Body, size)
	if w.cork != nil && w.err == nil {
		if w.Flush(); err == nil && w.err != nil {
			err = &lostError{w.err}
		}
	}
	return err
}
