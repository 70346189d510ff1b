// Package observe shows what the process does to those who watch it from
// outside. It is the only user of the libraries for that.
//
// [Sentry] reports errors.
package observe
