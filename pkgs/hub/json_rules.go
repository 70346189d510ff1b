package hub

// Rules that many a [JSONRules] has.

// JSONInto is a rule that leaves a value as it is, and remembers the string that it
// is in s: "" for another one.
func JSONInto(s *string) func(value []byte) ([]byte, error) {
	return func(value []byte) ([]byte, error) {
		*s, _ = JSONString(value)
		return value, nil
	}
}

// JSONBytesInto is [JSONInto] that reuses what kept has, for indexes with many values.
func JSONBytesInto(kept *[]byte) func(value []byte) ([]byte, error) {
	return func(value []byte) ([]byte, error) {
		s, _ := JSONBytes(value)
		*kept = append((*kept)[:0], s...)
		return value, nil
	}
}

// JSONChange is a rule that writes in place of a string what f makes of it; it leaves
// one of which that says false, and what is no string.
func JSONChange(f func(s string) (string, bool)) func(value []byte) ([]byte, error) {
	return func(value []byte) ([]byte, error) {
		if s, ok := JSONString(value); ok {
			if to, ok := f(s); ok {
				return AppendJSONString(nil, to), nil
			}
		}
		return value, nil
	}
}

// JSONSet is a rule that writes text, which is JSON, in place of a value.
func JSONSet(text []byte) func(value []byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return text, nil }
}

// JSONEnd is a rule of a path that ends in "/": f is called at the end of each object
// or array there, and its error ends the copy.
func JSONEnd(f func() error) func(value []byte) ([]byte, error) {
	return func([]byte) ([]byte, error) { return nil, f() }
}
