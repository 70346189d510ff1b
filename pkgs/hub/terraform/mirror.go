package terraform

import (
	"io"
	"strings"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/hub"
)

// copyVersion copies the document of the version p of a network mirror, its archives as
// led, and tells what it says of those that are here.
func (h *Hub) copyVersion(dst io.Writer, src io.Reader, c *hub.Copy, p place) error {
	var to, sum string // of one archive; to is "" if it is elsewhere
	return hub.CopyJSON(dst, src, hub.JSONRules{
		"archives/*/url": hub.JSONChange(func(link string) (string, bool) {
			led, ours := h.lead(link, c.From, p)
			if ours {
				to = led
			}
			relative := !strings.HasPrefix(link, "/") && !strings.Contains(link, "://")
			return led, ours && (!relative || strings.HasPrefix(led, up+ofPrefix[1:])) // a relative link means the same here
		}),
		"archives/*/hashes/*": func(value []byte) ([]byte, error) {
			if text, ok := hub.JSONString(value); ok && strings.HasPrefix(text, "zh:") {
				sum = text[len("zh:"):]
			}
			return value, nil
		},
		"archives/*/": hub.JSONEnd(func() error {
			if digest, err := exchange.ParseDigest("sha256:" + sum); err == nil && to != "" {
				h.tell(to, digest, c.Tell)
			}
			to, sum = "", ""
			return nil
		}),
	})
}
