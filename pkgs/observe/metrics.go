package observe

import (
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Options say where numbers are read from, once a scrape. All functions may be
// called at any time, concurrently; a nil one has nothing.
type Options struct {
	Version string
	Hubs    *Hubs
	Groups  func() []Group
	Store   func() Store
	Cache   func() Cache
	Dropped func() int64 // lines of the log that are lost
}

// A Store is content at rest.
type Store struct {
	Bytes     int64 `json:"bytes"` // drafts included
	Entries   int64 `json:"entries"`
	MaxSize   int64 `json:"max-size"` // bytes; 0: no bound
	Free      int64 `json:"free"`     // bytes of the file system
	Evictions int64 `json:"evictions"`
	Damaged   int64 `json:"damaged"` // entries that were dropped for wrong content
	Scanned   bool  `json:"scanned"` // Bytes and Entries cover what an earlier run left
}

// A Cache is what stands between requests, store and upstream.
type Cache struct {
	Flights     int   `json:"flights"`      // transfers under way
	StoreErrors int64 `json:"store-errors"` // writes that failed, but for want of room
	Full        int64 `json:"full"`         // transfers that found no room
	Bypassed    bool  `json:"bypassed"`     // the store is not written to, after errors

	Kept         int64 `json:"kept"`          // transfers that ended early, and left a part to go on with
	Resumed      int64 `json:"resumed"`       // transfers that went on from such a part
	ResumedBytes int64 `json:"resumed-bytes"` // that those did not fetch again
	Dropped      int64 `json:"dropped"`       // parts that were of no use
	Wrong        int64 `json:"wrong"`         // transfers whose content was not what it should be
}

// describe is the description of one of this program's metrics.
func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("cache_proxy_"+name, help, labels, nil)
}

// Metrics is the handler of /metrics: all numbers in the exposition format of
// Prometheus, those of the Go runtime and of the process included.
func Metrics(o Options) http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(o), collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return promhttp.HandlerFor(registry, promhttp.HandlerOpts{Timeout: 10 * time.Second, MaxRequestsInFlight: 4})
}

// A collector reads everything anew at each scrape.
type collector struct {
	Options
	build                                              *prometheus.Desc
	requests, sent, saved, refused                     *prometheus.Desc
	storeBytes, storeEntries, storeMax, storeFree      *prometheus.Desc
	storeScanned, evictions, damaged                   *prometheus.Desc
	flights, storeErrors, storeFull, wrong, storeAside *prometheus.Desc
	kept, resumed, resumedBytes, dropped               *prometheus.Desc

	logDropped *prometheus.Desc

	group  [len(groupMetrics)]*prometheus.Desc
	mirror [len(mirrorMetrics)]*prometheus.Desc
	answer *prometheus.Desc
}

func newCollector(o Options) *collector {
	c := &collector{
		Options:  o,
		build:    describe("build_info", "1, with the version of the program.", "version"),
		requests: describe("requests_total", "Answers, by the word of X-Cache.", "hub", "outcome"),
		sent:     describe("sent_bytes_total", "Bytes of bodies sent to clients, by where they came from.", "hub", "source"),
		saved:    describe("saved_bytes_total", "Bytes of bodies sent to clients that were not fetched for them.", "hub"),
		refused:  describe("refused_total", "Requests that got an error of the proxy's own, or less than a whole answer.", "hub", "reason"),

		storeBytes:   describe("store_bytes", "Bytes of content at rest, drafts included."),
		storeEntries: describe("store_entries", "Entries of the store."),
		storeMax:     describe("store_limit_bytes", "Bytes that the store may have; 0: no bound."),
		storeFree:    describe("store_free_bytes", "Bytes free on the store's file system."),
		storeScanned: describe("store_scanned", "1 when store_bytes and store_entries cover what an earlier run left."),
		evictions:    describe("store_evictions_total", "Entries that made room for others."),
		damaged:      describe("store_damaged_total", "Entries that were dropped because their content was not what it should be."),
		flights:      describe("flights", "Transfers from upstream that are under way."),
		storeErrors:  describe("store_errors_total", "Writes to the store that failed, but for want of room."),
		storeFull:    describe("store_full_total", "Transfers that were not stored for want of room."),
		wrong:        describe("wrong_content_total", "Transfers whose content was not what it should be."),
		kept:         describe("parts_kept_total", "Transfers that ended early, and left a part to go on with."),
		resumed:      describe("resumes_total", "Transfers that went on from such a part."),
		resumedBytes: describe("resumed_bytes_total", "Bytes that those did not fetch again."),
		dropped:      describe("parts_dropped_total", "Parts that were of no use."),
		storeAside:   describe("store_bypassed", "1 while nothing is stored, after errors of the store."),
		logDropped:   describe("log_dropped_total", "Lines of the log that there was no room for, or that could not be written."),
		answer:       describe("mirror_answers_total", "Requests to a mirror, by what came of them.", "hub", "origin", "mirror", "outcome"),
	}
	for i, m := range groupMetrics {
		c.group[i] = describe(m.name, m.help, "hub", "origin")
	}
	for i, m := range mirrorMetrics {
		c.mirror[i] = describe(m.name, m.help, "hub", "origin", "mirror")
	}
	return c
}

// Describe sends nothing: what there is depends on the configuration.
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect sends all metrics.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	s := sender{to}
	s.gauge(c.build, 1, c.Version)
	if c.Hubs != nil {
		c.Hubs.each(func(name string, n Counts) {
			for word, v := range n.Requests {
				s.counter(c.requests, v, name, word)
			}
			for word, v := range n.Sent {
				s.counter(c.sent, v, name, word)
			}
			s.counter(c.saved, n.Saved, name)
			for word, v := range n.Refused {
				s.counter(c.refused, v, name, word)
			}
		})
	}
	if c.Store != nil {
		t := c.Store()
		s.gauge(c.storeBytes, float64(t.Bytes))
		s.gauge(c.storeEntries, float64(t.Entries))
		s.gauge(c.storeMax, float64(t.MaxSize))
		s.gauge(c.storeFree, float64(t.Free))
		s.gauge(c.storeScanned, truth(t.Scanned))
		s.counter(c.evictions, t.Evictions)
		s.counter(c.damaged, t.Damaged)
	}
	if c.Cache != nil {
		t := c.Cache()
		s.gauge(c.flights, float64(t.Flights))
		s.counter(c.storeErrors, t.StoreErrors)
		s.counter(c.storeFull, t.Full)
		s.counter(c.wrong, t.Wrong)
		s.counter(c.kept, t.Kept)
		s.counter(c.resumed, t.Resumed)
		s.counter(c.resumedBytes, t.ResumedBytes)
		s.counter(c.dropped, t.Dropped)
		s.gauge(c.storeAside, truth(t.Bypassed))
	}
	if c.Dropped != nil {
		s.counter(c.logDropped, c.Dropped())
	}
	if c.Groups != nil {
		c.groups(s, c.Groups())
	}
}

// A sender makes metrics of numbers.
type sender struct{ to chan<- prometheus.Metric }

func (s sender) counter(d *prometheus.Desc, v int64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), labels...)
}

func (s sender) gauge(d *prometheus.Desc, v float64, labels ...string) {
	s.to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
