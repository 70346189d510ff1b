package oci

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"strconv"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

// What clients print; the codes follow from it.
const (
	nameInvalid     = "invalid repository name"
	nameUnknown     = "repository name not known to registry"
	tagInvalid      = "invalid tag"
	digestInvalid   = "invalid digest"
	manifestUnknown = "manifest unknown"
	blobUnknown     = "blob unknown to registry"
	denied          = "requested access to the resource is denied"
	tooMany         = "too many requests"
)

var codes = map[string]string{
	nameInvalid:     "NAME_INVALID",
	nameUnknown:     "NAME_UNKNOWN",
	tagInvalid:      "TAG_INVALID",
	digestInvalid:   "DIGEST_INVALID",
	manifestUnknown: "MANIFEST_UNKNOWN",
	blobUnknown:     "BLOB_UNKNOWN",
}

func refusal(status int, message string) error {
	return &exchange.Error{Status: status, Message: message}
}

// UnknownName is the error of a name that no hub has.
func UnknownName() error { return refusal(http.StatusNotFound, nameUnknown) }

// Refusal is an error in the form of the specification, which clients print.
func (h *Hub) Refusal(status int, message string) (contentType string, body []byte) {
	return Refusal(status, message)
}

// Refusal is [Hub.Refusal] where there is no hub.
func Refusal(status int, message string) (contentType string, body []byte) {
	code := codes[message]
	switch {
	case code != "":
	case status == http.StatusUnauthorized:
		code = "UNAUTHORIZED"
	case status == http.StatusForbidden:
		code = "DENIED"
	case status == http.StatusNotFound:
		code = "NAME_UNKNOWN"
	case status == http.StatusMethodNotAllowed:
		code = "UNSUPPORTED"
	case status == http.StatusTooManyRequests:
		code = "TOOMANYREQUESTS"
	case status >= http.StatusInternalServerError:
		code = "UNAVAILABLE"
	default:
		code = "UNSUPPORTED"
	}
	if message == "" {
		if message = http.StatusText(status); message == "" {
			message = "status " + strconv.Itoa(status)
		}
	}
	type detail struct {
		Code    string `json:"code"`
		Message string `json:"message"`
	}
	body, err := json.Marshal(map[string][]detail{"errors": {{code, message}}})
	if err != nil {
		panic(err) // strings
	}
	return "application/json", append(body, '\n')
}

// refused is the answer of a registry that has refused, in our words: its own
// may be a web page, or ask the client for credentials that are the hub's.
func refused(req *exchange.Request, resp *exchange.Response, kind string) *exchange.Response {
	resp.Body.Close()
	status, message := resp.Entry.Status, ""
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		status, message = http.StatusForbidden, denied
	case http.StatusNotFound, http.StatusGone:
		status = http.StatusNotFound
		switch kind {
		case manifests, referrers:
			message = manifestUnknown
		case blobs:
			message = blobUnknown
		default:
			message = nameUnknown
		}
	}
	contentType, text := Refusal(status, message)
	e := *resp.Entry
	e.Status, e.Size, e.Header = status, int64(len(text)), http.Header{"Content-Type": {contentType}}
	if req.Head {
		text = nil
	}
	return &exchange.Response{Entry: &e, Body: io.NopCloser(bytes.NewReader(text)), Outcome: resp.Outcome}
}
