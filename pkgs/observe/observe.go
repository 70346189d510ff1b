// Package observe is what people see of the proxy from outside: reports of what
// went wrong (sentry.go), the last of it in memory (recent.go), both as slog handlers
// (tap.go); numbers for Prometheus (metrics.go is the exposition, count.go what is
// counted while requests are served, groups.go what is read from those who count
// themselves); and spans of requests (traces.go). It is the only user of the
// libraries for that, and no part of it is needed to serve.
//
// It opens no listener, and keeps nothing by path: what labels there are is
// bounded by the configuration.
package observe
