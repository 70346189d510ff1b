package oci

import (
	"encoding/json"
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

// refused is a registry's refusal in our words: its own may be a web page, or ask
// the client for credentials that are the hub's.
func refused(status int, kind string) error {
	switch status {
	case http.StatusUnauthorized, http.StatusForbidden:
		return refusal(http.StatusForbidden, denied)
	case http.StatusNotFound, http.StatusGone:
		switch kind {
		case manifests, referrers:
			return refusal(http.StatusNotFound, manifestUnknown)
		case blobs:
			return refusal(http.StatusNotFound, blobUnknown)
		}
		return refusal(http.StatusNotFound, nameUnknown)
	}
	return refusal(status, "")
}
