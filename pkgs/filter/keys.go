package filter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
)

// errNoKeys says that there are no keys to check a token by.
var errNoKeys = errors.New("no keys")

const (
	keysFresh = time.Hour        // how long keys that were fetched are good without being asked for again
	keysRetry = 30 * time.Second // at least, between two attempts
	keysTime  = 10 * time.Second // for one of them
	maxKeys   = 1 << 20          // bytes of a document
)

// keys are those that tokens are signed with.
type keys struct {
	now  func() time.Time
	log  *slog.Logger
	load func(context.Context) (*jose.JSONWebKeySet, error) // nil: they are not asked for
	file *watched[*jose.JSONWebKeySet]                      // that they are in; nil: in none

	mu      sync.Mutex
	set     *jose.JSONWebKeySet // guarded by mu, like all below; nil until they were had once
	had     time.Time           // when
	tried   time.Time           // when it was last begun to load them
	loading chan struct{}       // closed when that is over; nil: they are not
	err     error               // of the last attempt
}

// keys are those that the options name.
func (o *jwtOptions) keys(now func() time.Time, log *slog.Logger) (*keys, error) {
	k := &keys{now: now, log: log}
	client := &http.Client{Timeout: keysTime}
	switch {
	case o.Secret != "":
		k.set = &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: []byte(o.Secret)}}}
	case o.PublicKey != "":
		set, err := readKey(o.PublicKey)
		if err != nil {
			return nil, err
		}
		k.set, k.file = set, newWatched(o.PublicKey, now, set, readKey)
	case o.JWKS != nil && o.JWKS.Scheme == "file":
		set, err := readKeys(o.JWKS.Path)
		if err != nil { // they may come yet
			log.Warn("no keys", "err", err)
		}
		k.set, k.file, k.err = set, newWatched(o.JWKS.Path, now, set, readKeys), err
	case o.Discover:
		k.load = func(ctx context.Context) (*jose.JSONWebKeySet, error) { return discover(ctx, client, o.Issuer) }
	default:
		k.load = func(ctx context.Context) (*jose.JSONWebKeySet, error) { return loadKeys(ctx, client, o.JWKS) }
	}
	return k, nil
}

// named are the keys that may have signed what names key id. Where there is none
// of the name they are loaded anew, and again when they are old.
func (k *keys) named(ctx context.Context, id string) ([]any, error) {
	if k.file != nil {
		return k.filed(id)
	}
	k.mu.Lock()
	found, now := k.find(id), k.now()
	if k.load == nil || len(found) > 0 && now.Sub(k.had) < keysFresh {
		k.mu.Unlock()
		return found, nil
	}
	if k.loading == nil && (k.tried.IsZero() || now.Sub(k.tried) >= keysRetry) {
		k.tried, k.loading = now, make(chan struct{})
		go k.reload(k.loading) // ends with keysTime
	}
	loading := k.loading
	k.mu.Unlock()
	if loading != nil && len(found) == 0 { // old ones are better than waiting
		select {
		case <-loading:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set == nil {
		return nil, fmt.Errorf("%w: %w", errNoKeys, k.err)
	}
	return k.find(id), nil
}

// filed is named of keys in a file, which is read when it changes. One that cannot
// be read changes nothing.
func (k *keys) filed(id string) ([]any, error) {
	set, err := k.file.value()
	if err != nil {
		k.log.Warn("keys are those of before", "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.set = set; set == nil {
		return nil, errNoKeys
	}
	return k.find(id), nil
}

// find is what there is of a name; of "" it is all. Callers hold mu.
func (k *keys) find(id string) (found []any) {
	if k.set == nil {
		return nil
	}
	for i := range k.set.Keys {
		if key := &k.set.Keys[i]; (id == "" || key.KeyID == "" || key.KeyID == id) && key.Use != "enc" {
			found = append(found, key.Key)
		}
	}
	return found
}

func (k *keys) reload(done chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), keysTime)
	defer cancel()
	set, err := k.load(ctx)
	if err != nil && k.count() > 0 { // else who wants them says it
		k.log.Warn("keys are those of before", "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.err = err; err == nil {
		k.set, k.had = set, k.now()
	}
	k.loading = nil
	close(done)
}

func (k *keys) count() int {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.find(""))
}

// discover finds the keys of an OpenID provider, which must say of itself that it
// is the issuer (OpenID Connect Discovery 1.0, §4.3).
func discover(ctx context.Context, client *http.Client, issuer string) (*jose.JSONWebKeySet, error) {
	var provider struct {
		Issuer string `json:"issuer"`
		Keys   string `json:"jwks_uri"`
	}
	at := strings.TrimSuffix(issuer, "/") + "/.well-known/openid-configuration"
	if err := fetch(ctx, client, at, &provider); err != nil {
		return nil, err
	}
	if provider.Issuer != issuer {
		return nil, fmt.Errorf("%s is of the issuer %q", at, provider.Issuer)
	}
	u, err := url.Parse(provider.Keys)
	if err != nil || !isWeb(u) {
		return nil, fmt.Errorf("%s has keys at %q", at, provider.Keys)
	}
	return loadKeys(ctx, client, u)
}

// loadKeys fetches a set of public keys.
func loadKeys(ctx context.Context, client *http.Client, from *url.URL) (*jose.JSONWebKeySet, error) {
	var set keySet
	if err := fetch(ctx, client, from.String(), &set); err != nil {
		return nil, err
	}
	return set.public(from.Redacted())
}

// readKeys reads a set of public keys from a file.
func readKeys(name string) (*jose.JSONWebKeySet, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	var set keySet
	if err := json.Unmarshal(text, &set); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return set.public(name)
}

// readKey is a set of the one key in a PEM file.
func readKey(name string) (*jose.JSONWebKeySet, error) {
	key, err := readPublicKey(name)
	if err != nil {
		return nil, err
	}
	return &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: key}}}, nil
}

// A keySet is a set of keys as it is written (RFC 7517 §5).
type keySet struct {
	Keys []json.RawMessage `json:"keys"`
}

// public are the public keys of a set that is from somewhere. Those of a kind that
// is not known here are none, and spoil nothing.
func (s *keySet) public(from string) (*jose.JSONWebKeySet, error) {
	set := &jose.JSONWebKeySet{}
	for _, text := range s.Keys {
		var key jose.JSONWebKey
		if json.Unmarshal(text, &key) == nil && key.IsPublic() { // a secret that everybody can read is none
			set.Keys = append(set.Keys, key)
		}
	}
	if len(set.Keys) == 0 {
		return nil, fmt.Errorf("%s has no public key", from)
	}
	return set, nil
}

// fetch gets a JSON document.
func fetch(ctx context.Context, client *http.Client, from string, to any) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, from, nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	from = req.URL.Redacted()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answers %s", from, resp.Status)
	}
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, to); err != nil {
		return fmt.Errorf("%s: %w", from, err)
	}
	return nil
}

// readPublicKey is the RSA or P-256 key in a PEM file, or that of a certificate there.
func readPublicKey(name string) (any, error) {
	text, err := readFile(name)
	if err != nil {
		return nil, err
	}
	block, _ := pem.Decode(text)
	if block == nil {
		return nil, fmt.Errorf("%s is no PEM file", name)
	}
	var key any
	switch block.Type {
	case "PUBLIC KEY":
		key, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		key, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		var cert *x509.Certificate
		if cert, err = x509.ParseCertificate(block.Bytes); err == nil {
			key = cert.PublicKey
		}
	default:
		return nil, fmt.Errorf("%s is a %s, no public key", name, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	switch k := key.(type) {
	case *rsa.PublicKey:
		return k, nil
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%s is neither an RSA nor a P-256 key", name)
}
