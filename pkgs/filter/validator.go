package filter

import (
	"context"
	"maps"
	"net/http"
	"regexp"
	"slices"

	"git.jeffthecoder.xyz/guochao/cache-proxy/pkgs/exchange"
)

type validatorOptions struct {
	Headers map[string]validatorField `yaml:"headers,required"` // by name; all must hold
	Status  int                       `yaml:"status"`           // of a refusal, 400 to 499
}

// validatorField is what one of a field's values must be: one of Values, or what
// Regexp matches; with neither, the field must be there.
type validatorField struct {
	Values []string       `yaml:"values,single,omitzero"`
	Regexp *regexp.Regexp `yaml:"regexp,omitzero"`
}

// Check implements [Checker].
func (o *validatorOptions) Check(reject func(path, format string, args ...any)) {
	checkNames(slices.Sorted(maps.Keys(o.Headers)), "headers", reject)
	if o.Status < 400 || o.Status > 499 {
		reject("status", "%d is no status from 400 to 499", o.Status)
	}
}

// Validator is the kind that refuses requests whose fields are not as they must
// be. Its result is invalid.
func Validator() Kind {
	return Define("wants header fields of certain values", []Result{{Name: "invalid"}},
		validatorOptions{Status: http.StatusBadRequest}, func(o validatorOptions, _ Env) (Filter, error) {
			v := &validator{status: o.Status}
			for _, name := range slices.Sorted(maps.Keys(o.Headers)) {
				v.rules = append(v.rules, validatorRule{http.CanonicalHeaderKey(name), o.Headers[name]})
			}
			return v, nil
		})
}

type validator struct {
	rules  []validatorRule
	status int
}

type validatorRule struct {
	name string
	validatorField
}

func (v *validator) Handle(_ context.Context, x *Exchange) string {
	for i := range v.rules {
		if r := &v.rules[i]; !r.holds(x.Request.Client.Header[r.name]) {
			x.Refuse(&exchange.Error{Status: v.status, Message: "the field " + r.name + " is not as it must be", Reason: "filter"})
			return "invalid"
		}
	}
	return ""
}

// holds reports whether one of the values is as it must be.
func (r *validatorRule) holds(values []string) bool {
	if r.Values == nil && r.Regexp == nil {
		return len(values) > 0
	}
	for _, value := range values {
		if slices.Contains(r.Values, value) || r.Regexp != nil && r.Regexp.MatchString(value) {
			return true
		}
	}
	return false
}

func (v *validator) Status() any { return nil }
