package front

import "bytes"

// checkTarget judges a request target (RFC 9112 §3.2) by itself: its form, its
// characters, and in its path what is escaped. Control characters are refused
// there too, since a path may come to stand in a log, a header or a file name.
func checkTarget(target, method []byte) reason {
	if target[0] == '*' {
		if len(target) == 1 && string(method) == "OPTIONS" { // §3.2.4
			return none
		}
		return badTarget
	}
	if target[0] != '/' && authority(target) == nil {
		return badTarget
	}
	for i := 0; i < len(target); i++ {
		c := target[i]
		if class[c]&isTarget == 0 {
			return badTarget
		}
		switch c {
		case '?':
			for _, c := range target[i:] {
				if class[c]&isTarget == 0 {
					return badTarget
				}
			}
			return none
		case '%':
			if i+2 >= len(target) || !hex(target[i+1]) || !hex(target[i+2]) {
				return badEscape
			}
			if high := target[i+1]; high < '2' || high == '7' && target[i+2]|0x20 == 'f' {
				return badEscape
			}
			i += 2
		}
	}
	return none
}

// checkAuthority judges the target of CONNECT: host and port (RFC 9112 §3.2.3).
func checkAuthority(target []byte) reason {
	if !validHost(target) || !digit(target[len(target)-1]) || bytes.LastIndexByte(target, ':') <= bytes.LastIndexByte(target, ']') {
		return badTarget
	}
	return none
}

// authority is that of a target in absolute form (§3.2.2); nil if it is none.
func authority(target []byte) []byte {
	const plain, secure = "http://", "https://"
	switch {
	case len(target) > len(plain) && fold(target[:len(plain)], plain):
		target = target[len(plain):]
	case len(target) > len(secure) && fold(target[:len(secure)], secure):
		target = target[len(secure):]
	default:
		return nil
	}
	if end := bytes.IndexAny(target, "/?"); end >= 0 {
		target = target[:end]
	}
	if len(target) == 0 {
		return nil
	}
	return target
}

// sameHost says whether an absolute target is of the host that the Host field
// names. net/http believes the target: another host must not come in by it.
func sameHost(target, host []byte) bool {
	return len(host) > 0 && bytes.EqualFold(authority(target), host)
}

// validHost checks host[:port] more strictly than RFC 3986 §3.2.2: what stands in
// it may end up in links, so it is letters, digits, ".-_", or an IPv6 address.
func validHost(b []byte) bool {
	if len(b) == 0 || len(b) > 255+len(":65535") {
		return false
	}
	i := 0
	if b[0] == '[' {
		for i = 1; i < len(b) && b[i] != ']'; i++ {
			if c := b[i]; !hex(c) && c != ':' && c != '.' {
				return false
			}
		}
		if i == 1 || i == len(b) {
			return false
		}
		i++
	} else {
		for ; i < len(b) && b[i] != ':'; i++ {
			c := b[i]
			if (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && !digit(c) && c != '.' && c != '-' && c != '_' {
				return false
			}
		}
		if i == 0 {
			return false
		}
	}
	if i == len(b) {
		return true
	}
	port := b[i:]
	if port[0] != ':' || len(port) > len(":65535") {
		return false
	}
	for _, c := range port[1:] {
		if !digit(c) {
			return false
		}
	}
	return true
}
