package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	cacheproxy "git.jeffthecoder.xyz/guochao/cache-proxy"
)

// An operator asks the admin listener of a server.
type operator struct {
	base   string
	token  string
	client *http.Client
}

// errNoServer says that nobody listens.
var errNoServer = errors.New("no server answers")

// adminFlag is the flag of commands that ask an operator's things.
func adminFlag(c *cobra.Command, to *string) {
	c.Flags().StringVar(to, "admin", "", "base `URL` of the admin listener; default admin.listen")
}

// newOperator reaches the admin listener of a configuration, or the one at a base URL.
func newOperator(c *cacheproxy.Config, base string) (*operator, error) {
	transport := &http.Transport{ResponseHeaderTimeout: 5 * time.Minute}
	o := &operator{base: strings.TrimSuffix(base, "/"), token: c.Admin.Token.Value(), client: &http.Client{Transport: transport}}
	switch listen := c.Admin.Listen; {
	case base != "":
		if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, misused(fmt.Errorf("--admin %q is no http URL", base))
		}
	case !listen.IsSet():
		return nil, fmt.Errorf("the configuration has no admin.listen, by which a server is asked: %w", errNoServer)
	case listen.Network == "unix":
		path := listen.Address.Address
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{}).DialContext(ctx, "unix", path)
		}
		o.base = "http://localhost"
	default:
		o.base = "http://" + reachable(listen.Address.Address)
	}
	return o, nil
}

// ask sends a request and reads the JSON of its answer. Nobody there is errNoServer.
func (o *operator) ask(ctx context.Context, method, path string, query url.Values, to any) error {
	at := o.base + path
	if len(query) > 0 {
		at += "?" + query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, method, at, nil)
	if err != nil {
		return err
	}
	if o.token != "" {
		req.Header.Set("Authorization", "Bearer "+o.token)
	}
	resp, err := o.client.Do(req)
	switch {
	case errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOENT):
		return fmt.Errorf("%w: %w", errNoServer, err)
	case err != nil:
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, 64<<20))
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		var said struct{ Message string }
		_ = json.Unmarshal(text, &said) // what is no JSON says nothing
		return fmt.Errorf("%s %s: status %d %s", method, path, resp.StatusCode, said.Message)
	}
	return json.Unmarshal(text, to)
}
