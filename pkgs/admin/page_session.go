package admin

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"net/http"
	"time"
)

const (
	loginPath  = "/login"
	logoutPath = "/logout"

	sessionCookie = "cache-proxy-session"
	sessionTime   = 12 * time.Hour

	loginTime = 10 * time.Second // that the token may take to come: whoever sends it is nobody yet
)

// sessions let browsers in that have shown the token once. A session is a cookie
// that says until when it holds, signed with a key made of the token: nothing of
// it is kept here, it ends with the token, and the token cannot be had from it.
// A browser keeps it until it is closed.
type sessions struct {
	key   [sha256.Size]byte
	token [sha256.Size]byte
	now   func() time.Time
}

func newSessions(token string, now func() time.Time) *sessions {
	return &sessions{
		key:   sha256.Sum256([]byte("session of the page\x00" + token)),
		token: sha256.Sum256([]byte(token)),
		now:   now,
	}
}

// sealed is the length of a session: until, a nonce, the signature.
const sealed = 8 + 16 + sha256.Size

func (s *sessions) sign(text []byte) []byte {
	m := hmac.New(sha256.New, s.key[:])
	m.Write(text)
	return m.Sum(nil)
}

// begin makes a session.
func (s *sessions) begin() string {
	b := binary.BigEndian.AppendUint64(make([]byte, 0, sealed), uint64(s.now().Add(sessionTime).Unix()))
	b = b[:8+16]
	rand.Read(b[8:])
	return base64.RawURLEncoding.EncodeToString(append(b, s.sign(b)...))
}

// holds reports whether a request has a session. The nil sessions have none.
func (s *sessions) holds(r *http.Request) bool {
	if s == nil {
		return false
	}
	for _, c := range r.CookiesNamed(sessionCookie) {
		b, err := base64.RawURLEncoding.DecodeString(c.Value)
		if err != nil || len(b) != sealed {
			continue
		}
		until := int64(binary.BigEndian.Uint64(b))
		if hmac.Equal(s.sign(b[:8+16]), b[8+16:]) && s.now().Unix() < until {
			return true
		}
	}
	return false
}

// ask is the page that asks for the token.
func (p *pages) ask(w http.ResponseWriter, _ *http.Request) {
	p.write(w, http.StatusOK, &frame{Title: "Sign in", Template: "login"})
}

// enter begins a session for who shows the token.
func (p *pages) enter(w http.ResponseWriter, r *http.Request) {
	to := http.NewResponseController(w)
	_ = to.SetReadDeadline(time.Now().Add(loginTime)) // a writer that has none needs none
	sum := sha256.Sum256([]byte(r.PostFormValue("token")))
	_ = to.SetReadDeadline(time.Time{})
	if subtle.ConstantTimeCompare(sum[:], p.login.token[:]) != 1 {
		if p.options.Refused != nil {
			p.options.Refused("admin-token")
		}
		p.options.Log.Warn("admin request refused", "reason", "admin-token", "method", r.Method, "client", r.RemoteAddr)
		p.write(w, http.StatusForbidden, &frame{Title: "Sign in", Template: "login", View: "That is not the token."})
		return
	}
	p.cookie(w, r, p.login.begin(), 0)
	http.Redirect(w, r, "/", http.StatusSeeOther)
}

// leave makes the browser forget its session.
func (p *pages) leave(w http.ResponseWriter, r *http.Request) {
	p.cookie(w, r, "", -1)
	http.Redirect(w, r, loginPath, http.StatusSeeOther)
}

func (p *pages) cookie(w http.ResponseWriter, r *http.Request, value string, age int) {
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, SameSite: http.SameSiteStrictMode, Secure: r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https",
	})
}

// open reports whether a request needs no token: what asks for it, and what that
// is drawn with.
func (p *pages) open(r *http.Request) bool {
	if p == nil {
		return false
	}
	_, asset := assets[r.URL.Path]
	return asset || r.URL.Path == loginPath
}
