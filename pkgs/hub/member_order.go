package hub

import (
	"errors"
	"io/fs"
	"net/http"
	"slices"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// InOrder is the answer of the first member that has what req asks for, where each has
// to be asked in a way of its own: ask asks one, and is not called again when one has
// it. Of what is private to some members no other is asked. Where none has it the answer
// is the first that says so, unless it could not be had of one of them: then that is
// the error. Of a hub without members ask is called with "".
func (m *Members) InOrder(req *exchange.Request, ask func(member string) (*exchange.Response, error)) (*exchange.Response, error) {
	names := m.Names()
	if names == nil {
		return ask("")
	}
	owners := m.Owners(req)
	var worst error
	var refusal *exchange.Response
	for i, name := range names {
		if len(owners) > 0 && !slices.Contains(owners, i) {
			continue
		}
		resp, err := ask(name)
		switch {
		case err != nil && errors.Is(err, fs.ErrNotExist) && worst != nil:
		case err != nil:
			worst = err
		case resp.Entry.Status < http.StatusBadRequest:
			if refusal != nil {
				refusal.Body.Close()
			}
			return resp, nil
		case refusal == nil:
			refusal = resp
		default:
			resp.Body.Close()
		}
	}
	if refusal != nil && (worst == nil || errors.Is(worst, fs.ErrNotExist)) {
		return refusal, nil
	}
	if refusal != nil {
		refusal.Body.Close()
	}
	return nil, worst
}
