//go:build e2e

package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

func itself(name string) string { return name }

func pipGuest(t *testing.T) guest {
	need(t, "pip")
	pip := func(t *testing.T, home string, args ...string) (string, error) {
		return try(t, home, []string{"PIP_CONFIG_FILE=/dev/null", "PIP_DISABLE_PIP_VERSION_CHECK=1"}, "pip", args...)
	}
	from := func(hub string) []string {
		return []string{"--isolated", "--no-cache-dir", "--retries", "0", "--index-url", hub + "/simple/"}
	}
	return guest{
		kind: "pypi", private: "house-*", merges: true, named: itself,
		add: func(t *testing.T, m *mirror, name, version string) {
			file := strings.ReplaceAll(name, "-", "_") + "-" + version + "-py3-none-any.whl"
			putWheel(t, name, version, "", false, m.dir, "packages", file)
			put(t, fmt.Appendf(nil, `<!DOCTYPE html><html><body><a href="../../packages/%s#sha256=%x">%[1]s</a></body></html>`,
				file, sha256.Sum256(mustRead(t, m.dir, "packages", file))), m.dir, "simple", name, "index.html")
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			if version != "" {
				name += "==" + version
			}
			return pip(t, home, append(append([]string{"install"}, from(hub)...), "--target", filepath.Join(home, "site"), name)...)
		},
		has: func(t *testing.T, home, name string) string {
			return onlyVersion(t, filepath.Join(home, "site", strings.ReplaceAll(name, "-", "_")+"-*.dist-info"))
		},
		lists: func(t *testing.T, hub, home, name string) string {
			out, err := pip(t, home, append(append([]string{"index", "versions"}, from(hub)...), name)...)
			require.NoError(t, err, out)
			return out
		},
	}
}

func npmGuest(t *testing.T) guest {
	need(t, "npm", "node")
	npm := func(t *testing.T, hub, home string, args ...string) (string, error) {
		return try(t, home, []string{
			"npm_config_registry=" + hub + "/", "npm_config_userconfig=" + filepath.Join(home, "npmrc"), "npm_config_cache=" + filepath.Join(home, "cache"),
			"npm_config_update_notifier=false", "npm_config_fund=false", "npm_config_fetch_retries=0", "npm_config_audit=true",
		}, "npm", args...)
	}
	return guest{
		kind: "npm", private: "@house", merges: true, audits: "/-/npm/v1/security/advisories/bulk",
		named: func(name string) string {
			if lib, ok := strings.CutPrefix(name, "house-"); ok {
				return "@house/" + lib
			}
			return name
		},
		add: func(t *testing.T, m *mirror, name, version string) {
			putTarball(t, name, version, "{}", m.url, m.dir, "/"+name+"/-/"+filepath.Base(name)+"-"+version+".tgz")
			files := http.FileServer(http.Dir(m.dir))
			m.files = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				packument, err := os.ReadFile(filepath.Join(m.dir, "packuments", filepath.FromSlash(r.URL.Path)))
				switch {
				case r.Method == http.MethodPost: // an audit, of what is known to be installed
					w.Header().Set("Content-Type", "application/json")
					w.Write([]byte("{}"))
				case err == nil:
					w.Header().Set("Content-Type", "application/json")
					w.Write(packument)
				default:
					files.ServeHTTP(w, r)
				}
			})
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			put(t, []byte(`{"name":"machine","version":"1.0.0"}`), home, "package.json")
			if version != "" {
				name += "@" + version
			}
			// What is installed beside it is what an audit tells the public member of.
			return npm(t, hub, home, "install", name, "leaf")
		},
		has: func(t *testing.T, home, name string) string {
			var manifest struct{ Version string }
			require.NoError(t, json.Unmarshal(mustRead(t, home, "node_modules", name, "package.json"), &manifest))
			return manifest.Version
		},
		lists: func(t *testing.T, hub, home, name string) string {
			out, err := npm(t, hub, home, "view", name, "versions", "--json")
			require.NoError(t, err, out)
			return out
		},
	}
}

func goGuest(t *testing.T) guest {
	need(t, "go")
	builds := t.TempDir()
	run := func(t *testing.T, hub, home string, args ...string) (string, error) {
		return try(t, home, []string{
			"GOPROXY=" + hub, "GOSUMDB=off", "GOPRIVATE=", "GONOPROXY=", "GOVCS=*:off", "GOPATH=" + filepath.Join(home, "gopath"),
			"GOMODCACHE=" + filepath.Join(home, "modcache"), "GOCACHE=" + builds, "GOTOOLCHAIN=local", "GOFLAGS=-modcacherw", "GOENV=off", "GOWORK=off",
		}, "go", args...)
	}
	return guest{
		kind: "go", private: "house.example.org", merges: true,
		named: func(name string) string {
			if lib, ok := strings.CutPrefix(name, "house-"); ok {
				return "house.example.org/" + lib
			}
			return "example.org/" + name
		},
		add: func(t *testing.T, m *mirror, name, version string) {
			putModule(t, m.dir, map[string]string{}, name, "v"+version, "")
			put(t, []byte("v"+version+"\n"), m.dir, name, "@v/list")
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			put(t, []byte("module machine\n\ngo 1.21\n"), home, "go.mod")
			if version == "" {
				version = "latest"
			} else {
				version = "v" + version
			}
			return run(t, hub, home, "get", name+"@"+version)
		},
		has: func(t *testing.T, home, name string) string {
			m := regexp.MustCompile(regexp.QuoteMeta(name) + ` v(\S+)`).FindSubmatch(mustRead(t, home, "go.mod"))
			require.NotNil(t, m)
			return string(m[1])
		},
		lists: func(t *testing.T, hub, home, name string) string {
			out, err := run(t, hub, home, "list", "-m", "-versions", name)
			require.NoError(t, err, out)
			return out
		},
	}
}

func cargoGuest(t *testing.T) guest {
	need(t, "cargo")
	return guest{
		kind: "cargo", private: "house-*", merges: true, named: itself,
		add: func(t *testing.T, m *mirror, name, version string) {
			put(t, fmt.Appendf(nil, `{"dl": "%[1]s/crates/{lowerprefix}/{crate}/{version}.crate", "api": "%[1]s"}`, m.url), m.dir, "config.json")
			putCrate(t, m.dir, name, version, "")
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			if version == "" {
				version = "*"
			} else {
				version = "=" + version
			}
			put(t, fmt.Appendf(nil, "[package]\nname = \"machine\"\nversion = \"0.1.0\"\nedition = \"2021\"\n[dependencies]\n%s = %q\n", name, version), home, "Cargo.toml")
			put(t, nil, home, "src/lib.rs")
			put(t, []byte("[source.crates-io]\nreplace-with = \"hub\"\n[source.hub]\nregistry = \"sparse+"+hub+"/\"\n"), home, "cargo/config.toml")
			rustup := os.Getenv("RUSTUP_HOME")
			if own, err := os.UserHomeDir(); rustup == "" && err == nil {
				rustup = filepath.Join(own, ".rustup")
			}
			return try(t, home, []string{"CARGO_HOME=" + filepath.Join(home, "cargo"), "CARGO_NET_RETRY=0", "CARGO_TERM_COLOR=never", "RUSTUP_HOME=" + rustup}, "cargo", "fetch")
		},
		has: func(t *testing.T, home, name string) string {
			m := regexp.MustCompile(`name = "` + name + `"\nversion = "(\S+)"`).FindSubmatch(mustRead(t, home, "Cargo.lock"))
			require.NotNil(t, m)
			found, err := filepath.Glob(filepath.Join(home, "cargo/registry/cache/*", name+"-"+string(m[1])+".crate"))
			require.NoError(t, err)
			require.Len(t, found, 1)
			return string(m[1])
		},
	}
}

func gemGuest(t *testing.T) guest {
	need(t, "gem", "bundle")
	made := map[*mirror]*gemRepository{}
	index := sync.OnceFunc(func() { // the older one, of which gem reads what gems need
		for m := range made {
			must(t, m.dir, nil, "gem", "generate_index", "--directory", m.dir)
		}
	})
	return guest{
		kind: "rubygems", private: "house-*", named: itself,
		add: func(t *testing.T, m *mirror, name, version string) {
			if made[m] == nil {
				made[m] = &gemRepository{www: m.dir}
			}
			made[m].add(t, name, version, "")
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			index()
			args := []string{"install", name, "--install-dir", filepath.Join(home, "gems"), "--no-document", "--clear-sources", "--source", hub + "/"}
			if version != "" {
				args = append(args, "--version", version)
			}
			out, err := try(t, home, nil, "gem", args...)
			if err != nil || !strings.HasPrefix(name, "house-") {
				return out, err
			}
			// Bundler sees what the first member lists, and no more.
			put(t, []byte("source \""+hub+"/\"\ngem \""+name+"\"\n"), home, "Gemfile")
			return try(t, home, []string{
				"BUNDLE_PATH=" + filepath.Join(home, "bundle"), "BUNDLE_APP_CONFIG=" + filepath.Join(home, "config"), "BUNDLE_USER_HOME=" + filepath.Join(home, "user"),
				"BUNDLE_RETRY=0", "GEM_HOME=" + filepath.Join(home, "home"), "BUNDLE_SILENCE_ROOT_WARNING=1",
			}, "bundle", "install")
		},
		has: func(t *testing.T, home, name string) string {
			version := onlyVersion(t, filepath.Join(home, "gems/gems", name+"-*"))
			if strings.HasPrefix(name, "house-") {
				found, err := filepath.Glob(filepath.Join(home, "bundle/ruby/*/gems", name+"-"+version))
				require.NoError(t, err)
				require.Len(t, found, 1, "Bundler's")
			}
			return version
		},
	}
}

func composerGuest(t *testing.T) guest {
	need(t, "composer", "php")
	return guest{
		kind: "composer", private: "house/*", audits: "/api/security-advisories/",
		named: func(name string) string {
			if lib, ok := strings.CutPrefix(name, "house-"); ok {
				return "house/" + lib
			}
			return "acme/" + name
		},
		add: func(t *testing.T, m *mirror, name, version string) {
			put(t, []byte(`{"packages":[],"metadata-url":"/p2/%package%.json","security-advisories":{"metadata":false,"api-url":"/api/security-advisories/"}}`), m.dir, "packages.json")
			putDist(t, m.dir, "", m.url+"/dist", name, version, fmt.Sprintf("%x", sha256.Sum256([]byte(m.url+name)))[:40], "")
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			if version == "" {
				version = "*"
			}
			put(t, fmt.Appendf(nil, `{"name":"acme/machine","require":{%q:%q},"repositories":[{"type":"composer","url":%q},{"packagist":false}],"config":{"secure-http":false}}`, name, version, hub), home, "composer.json")
			env := []string{"COMPOSER_HOME=" + filepath.Join(home, "home"), "COMPOSER_CACHE_DIR=" + filepath.Join(home, "cache"), "COMPOSER_ALLOW_SUPERUSER=1"}
			out, err := try(t, home, env, "composer", "update", "-n", "--no-ansi")
			if err == nil {
				_, _ = try(t, home, env, "composer", "audit", "-n", "--no-ansi") // whose answer is nobody's matter here
			}
			return out, err
		},
		has: func(t *testing.T, home, name string) string {
			var installed struct {
				Packages []struct{ Name, Version string } `json:"packages"`
			}
			require.NoError(t, json.Unmarshal(mustRead(t, home, "vendor/composer/installed.json"), &installed))
			require.Len(t, installed.Packages, 1)
			require.Equal(t, name, installed.Packages[0].Name)
			return installed.Packages[0].Version
		},
	}
}

func nugetGuest(t *testing.T) guest {
	program := nugetExe(t)
	return guest{
		kind: "nuget", private: "House.*",
		named: func(name string) string {
			return strings.NewReplacer("house-lib", "House.Lib", "house-none", "House.None", "leaf", "Leaf").Replace(name)
		},
		add: func(t *testing.T, m *mirror, id, version string) {
			put(t, fmt.Appendf(nil, `{"version":"3.0.0","resources":[
				{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl"},{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl/3.0.0-rc"},
				{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl/3.4.0"},{"@id":"%[1]s/reg/","@type":"RegistrationsBaseUrl/Versioned","clientVersion":"4.3.0-alpha"},
				{"@id":"%[1]s/flat/","@type":"PackageBaseAddress/3.0.0"}]}`, m.url), m.dir, "v3/index.json")
			putNuGet(t, m.dir, m.url, id, version, "")
		},
		install: func(t *testing.T, hub, home, name, version string) (string, error) {
			args := []string{program, "install", name, "-Source", hub + "/v3/index.json", "-OutputDirectory", "out", "-NonInteractive"}
			if version != "" {
				args = append(args, "-Version", version)
			}
			return try(t, home, nil, "mono", args...)
		},
		has: func(t *testing.T, home, name string) string {
			return onlyVersion(t, filepath.Join(home, "out", name+".*"))
		},
	}
}
