package welcome

import (
	"fmt"
	"strings"
)

// services are the clients of what is run, and all others.
func (a address) services() []client {
	return []client{
		{"oci", "docker, podman, containerd", "docker", "", func(at string, h Hub) (all []paste) {
			if h.Default && !strings.Contains(a.host, "/") {
				mirrors := fmt.Sprintf("{\"registry-mirrors\": [%s]}", quoted(a.base))
				if a.insecure {
					mirrors = fmt.Sprintf("{\"registry-mirrors\": [%s], \"insecure-registries\": [%s]}", quoted(a.base), quoted(a.name))
				}
				all = append(all, paste{"/etc/docker/daemon.json", mirrors})
			}
			return append(all, shell("in a shell", "docker pull "+word(a.host+h.Path+"/IMAGE")))
		}},
		{"helm", "helm", "", "", func(at string, h Hub) []paste {
			return []paste{shell("in a shell", "helm repo add "+word(h.Name)+" "+word(at))}
		}},
		a.terraform(),
		{"files", "Plain files", "", "", func(at string, h Hub) []paste {
			return []paste{shell("in a shell", "curl -LO "+word(at)+"/…")}
		}},
	}
}

// terraform asks network mirrors by https alone, so that for http there is only to
// say so.
func (a address) terraform() client {
	c := client{kind: "terraform", title: "Terraform, OpenTofu", paste: func(at string, h Hub) []paste {
		if a.insecure {
			return nil
		}
		mirror, direct := "    url = "+quoted(at+"/")+"\n", ""
		if len(h.Providers) > 0 {
			all := make([]string, len(h.Providers))
			for i, host := range h.Providers {
				all[i] = quoted(host + "/*/*")
			}
			list := strings.Join(all, ", ")
			mirror = "    url     = " + quoted(at+"/") + "\n    include = [" + list + "]\n"
			direct = "  direct {\n    exclude = [" + list + "]\n  }\n"
		}
		return []paste{{"~/.terraformrc, or ~/.tofurc", "provider_installation {\n  network_mirror {\n" + mirror + "  }\n" + direct + "}"}}
	}}
	if a.insecure {
		c.notes = "It asks mirrors by https alone: this address, which is http, does not do for it."
	}
	return c
}
