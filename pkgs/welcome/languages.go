package welcome

import "fmt"

// languages are the clients of languages that setup.sh knows.
func (a address) languages() []client {
	return []client{
		{"pypi", "pip, uv", "pip", "", func(at string, h Hub) []paste {
			lines := []string{"pip config set global.index-url " + word(at+"/simple/")}
			if a.insecure {
				lines = append(lines, "pip config set global.trusted-host "+word(a.name))
			}
			return []paste{shell("pip, in a shell", lines...), shell("uv, in a shell", "export UV_DEFAULT_INDEX="+word(at+"/simple/"))}
		}},
		{"npm", "npm, pnpm, yarn", "npm", "", func(at string, h Hub) []paste {
			return []paste{shell("in a shell", "npm config set registry "+word(at+"/"))}
		}},
		{"go", "go", "go", "It goes to the sources themselves when the cache fails.", func(at string, h Hub) []paste {
			return []paste{shell("in a shell", "go env -w "+word("GOPROXY="+at+"|direct"))}
		}},
		{"cargo", "cargo", "cargo", "", func(at string, h Hub) []paste {
			return []paste{{"~/.cargo/config.toml", fmt.Sprintf("[source.crates-io]\nreplace-with = \"cache-proxy\"\n\n[source.cache-proxy]\nregistry = %s", quoted("sparse+"+at+"/"))}}
		}},
		{"maven", "maven, Gradle", "maven", "", func(at string, h Hub) []paste {
			return []paste{{"~/.m2/settings.xml", fmt.Sprintf("<settings><mirrors><mirror>\n  <id>cache-proxy</id><mirrorOf>central</mirrorOf><url>%s/</url>\n</mirror></mirrors></settings>", markup(at))}}
		}},
	}
}

// others are the clients of languages that setup.sh leaves to their people.
func (a address) others() []client {
	return []client{
		{"composer", "Composer", "", "For one project, the same without --global, in its folder.", func(at string, h Hub) []paste {
			lines := []string{"composer config --global repo.packagist composer " + word(at)}
			if a.insecure {
				lines = append(lines, "composer config --global secure-http false")
			}
			return []paste{shell("in a shell", lines...)}
		}},
		{"rubygems", "Bundler, RubyGems", "", "", func(at string, h Hub) []paste {
			return []paste{
				shell("Bundler, in a shell; SOURCE is the source that the Gemfile names", "bundle config set --global mirror.SOURCE "+word(at+"/")),
				shell("gem, in a shell", "gem sources --clear-all --add "+word(at+"/")),
			}
		}},
		{"nuget", "dotnet, NuGet", "", "", func(at string, h Hub) []paste {
			allow := ""
			if a.insecure {
				allow = ` allowInsecureConnections="true"`
			}
			return []paste{{"nuget.config beside the solution, or ~/.nuget/NuGet/NuGet.Config", fmt.Sprintf(
				"<configuration><packageSources><clear />\n  <add key=\"%s\" value=\"%s/v3/index.json\"%s />\n</packageSources></configuration>", markup(h.Name), markup(at), allow)}}
		}},
		{"conda", "conda, mamba, pixi", "", "", func(at string, h Hub) []paste {
			return []paste{
				{"~/.condarc, with your channels", "channel_alias: " + at + "\nchannels: [conda-forge]"},
				{"pixi.toml, with your channels", fmt.Sprintf("channels = [%s]", quoted(at+"/conda-forge"))},
			}
		}},
		{"cran", "R", "", "", func(at string, h Hub) []paste {
			return []paste{{"~/.Rprofile", fmt.Sprintf("options(repos = c(CRAN = %s))", quoted(at))}}
		}},
		{"hex", "mix, rebar3", "", "", func(at string, h Hub) []paste {
			return []paste{shell("mix, in a shell", "export HEX_MIRROR="+word(at)), shell("rebar3, in a shell", "export HEX_CDN="+word(at))}
		}},
		{"pub", "dart, flutter", "", "", func(at string, h Hub) []paste {
			return []paste{shell("in a shell", "export PUB_HOSTED_URL="+word(at))}
		}},
		{"rustup", "rustup", "", "", func(at string, h Hub) []paste {
			return []paste{shell("in a shell", "export RUSTUP_DIST_SERVER="+word(at))}
		}},
	}
}
