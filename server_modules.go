package cacheproxy

import (
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// The answer to /-/modules: the types there are, and what runs in which hub.
type diagnostics struct {
	Config       configRecord      `json:"config"`
	Modules      []moduleRecord    `json:"modules"`
	Hubs         []hubRecord       `json:"hubs"`
	HookRegistry map[string]string `json:"hook_registry"`
}

type configRecord struct {
	Revision int64     `json:"revision"` // counted from 1 at the start of the process
	Begun    time.Time `json:"begun"`    // when it was put in force
}

type moduleRecord struct {
	Key                string        `json:"key"`
	Description        string        `json:"description"`
	MigrationState     string        `json:"migration_state"`
	SupportedProtocols []string      `json:"supported_protocols"`
	CacheStrategy      cacheStrategy `json:"cache_strategy"`
	HookStatus         string        `json:"hook_status"`
}

// cacheStrategy is how a module's content is kept. All but the TTL is the same
// for all of them: it is the cache and the store that do it.
type cacheStrategy struct {
	TTLSeconds             int64  `json:"ttl_seconds"`     // of mutable paths that no policy covers
	ValidationMode         string `json:"validation_mode"` // etag: by the origin's validators, Last-Modified where there is none
	DiskLayout             string `json:"disk_layout"`
	RequiresMetadataFile   bool   `json:"requires_metadata_file"`
	SupportsStreamingWrite bool   `json:"supports_streaming_write"`
}

type hubRecord struct {
	HubName     string     `json:"hub_name"`
	ModuleKey   HubType    `json:"module_key"`
	Domain      string     `json:"domain"` // the first of its hosts; "" if it has none
	Port        int        `json:"port"`   // that is listened on; 0 for a socket
	Path        string     `json:"path"`
	RolloutFlag Rollout    `json:"rollout_flag"`
	Validation  Validation `json:"validation_mode"` // of the configuration: all is what the module's says
}

func (rev *revision) diagnostics() diagnostics {
	d := diagnostics{Config: configRecord{rev.number, rev.begun}, HookRegistry: map[string]string{}}
	for _, key := range slices.Sorted(maps.Keys(hubs)) {
		r := rev.moduleRecord(key)
		d.Modules = append(d.Modules, r)
		d.HookRegistry[r.Key] = r.HookStatus
	}
	for _, m := range rev.hubs {
		c := m.config
		r := hubRecord{HubName: c.Name, ModuleKey: c.Module(), Port: port(rev.config.Listen), Path: c.Path, RolloutFlag: c.Rollout, Validation: c.Cache.Validation}
		if len(c.Hosts) > 0 {
			r.Domain = c.Hosts[0]
		}
		d.Hubs = append(d.Hubs, r)
	}
	return d
}

func (rev *revision) moduleRecord(key HubType) moduleRecord {
	m := hubs[key]
	state := "ga"
	if key == HubFiles {
		state = "legacy"
	}
	ttl := m.ttl
	if ttl == 0 {
		ttl = time.Duration(rev.config.Cache.Timeout)
	}
	return moduleRecord{
		Key: string(key), Description: m.about, MigrationState: state, SupportedProtocols: []string{string(key)}, HookStatus: "registered",
		CacheStrategy: cacheStrategy{
			TTLSeconds: int64(ttl / time.Second), ValidationMode: "etag", DiskLayout: "raw_path", SupportsStreamingWrite: true,
		},
	}
}

// module answers /-/modules/{key}.
func (rev *revision) module(w http.ResponseWriter, r *http.Request, key string) {
	if _, ok := hubs[HubType(key)]; !ok {
		ownJSON(w, r, http.StatusNotFound, map[string]string{"error": "module_not_found"})
		return
	}
	ownJSON(w, r, http.StatusOK, rev.moduleRecord(HubType(key)))
}

// port is the first that is listened on; 0 if there is none.
func port(listen []Address) int {
	for _, a := range listen {
		if _, p, err := net.SplitHostPort(a.Address); err == nil && a.Network == "tcp" {
			n, _ := strconv.Atoi(p)
			return n
		}
	}
	return 0
}
