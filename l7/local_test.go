package l7_test

import (
	"testing"

	"github.com/backstay/backstay/l7"
)

func TestLocalAnswers(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		s.Pages = map[string][]byte{"/srv/robots.txt": []byte("User-agent: *\n")}
		web(s, func(f *l7.Frontend) {
			f.Routes = []l7.Route{
				{Path: "/old/", Redirect: &l7.Redirect{URL: "https://new.example/", Status: 308}},
				{Path: "/gone", Respond: &l7.Respond{Status: 410, Body: "gone"}},
				{Path: "/robots.txt", Respond: &l7.Respond{Status: 200, File: "/srv/robots.txt"}},
				{Path: "/shop/", To: "shop"},
			}
		})
	})
	w := r.raw()
	for _, c := range []struct {
		path, body, location string
		status               int
	}{
		{"/old/a?b=1", "", "https://new.example/old/a?b=1", 308},
		{"/gone", "gone", "", 410},
		{"/robots.txt", "User-agent: *\n", "", 200},
		{"/nothing", "404 Not Found\n", "", 404},
		{"/shop/", "503 Service Unavailable\n", "", 503},
		{"/x/../%67one", "gone", "", 410}, // routes see through it
	} {
		w.send("GET " + c.path + " HTTP/1.1\r\nHost: a\r\n\r\n")
		resp, body := w.answer("GET")
		if resp.StatusCode != c.status || body != c.body || resp.Header.Get("Location") != c.location || resp.Header.Get("Date") == "" {
			t.Errorf("%s: %s %q %v", c.path, resp.Status, body, resp.Header)
		}
		if c.status == 503 && resp.Header.Get("Retry-After") == "" {
			t.Error("503 without Retry-After")
		}
	}
}

func TestRoutesLookAtFields(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) {
			says := func(text string) *l7.Respond { return &l7.Respond{Status: 200, Body: text} }
			f.Routes = []l7.Route{
				{Headers: map[string]string{"X-Canary": "yes", "X-Team": "*"}, Respond: says("both")},
				{Headers: map[string]string{"X-Canary": "yes"}, Respond: says("canary")},
				{Headers: map[string]string{"X-Team": "*"}, Respond: says("team")},
				{Respond: says("other")},
			}
		})
	})
	for fields, want := range map[string]string{
		"":                                  "other",
		"x-canary: yes\r\n":                 "canary",
		"X-Canary: Yes\r\n":                 "other",
		"X-Canary: no\r\nX-CANARY: yes\r\n": "canary",
		"X-Team:\r\n":                       "team",
		"X-Teams: a\r\n":                    "other",
		"X-Team: a\r\nX-Canary: yes\r\n":    "both",
	} {
		w := r.raw()
		w.send("GET / HTTP/1.1\r\nHost: a\r\n" + fields + "\r\n")
		if _, body := w.answer("GET"); body != want {
			t.Errorf("%q: %s, want %s", fields, body, want)
		}
	}
}

func TestPlainHTTPIsSentToHTTPS(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) { f.Redirect, f.Routes = "https", nil })
	})
	w := r.raw()
	w.send("GET /a?b HTTP/1.1\r\nHost: Shop.example:8080\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.StatusCode != 308 || resp.Header.Get("Location") != "https://shop.example/a?b" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	w.send("OPTIONS * HTTP/1.1\r\nHost: [::1]:8080\r\n\r\n")
	if resp, _ := w.answer("GET"); resp.Header.Get("Location") != "https://[::1]/" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
	w.send("GET / HTTP/1.0\r\n\r\n") // which host it means, it does not say
	if resp, _ := w.answer("GET"); resp.Header.Get("Location") != "https://127.0.0.1/" {
		t.Errorf("got %s %v", resp.Status, resp.Header)
	}
}

func TestHTTPSIsFoundAtItsPort(t *testing.T) {
	for _, c := range []struct {
		binds []string
		port  string
	}{
		{[]string{":8443"}, ":8443"},
		{[]string{":8443", "[::1]:8443", "unix:/run/x"}, ":8443"},
		{[]string{":8443", ":443"}, ""},
		{[]string{"unix:/run/x"}, ""},
	} {
		cert := certificate(t, 1, "a", "a.example")
		r := newRig(t, func(s *l7.Snapshot) {
			secure(cert)(s)
			tls := s.Frontends["web"]
			tls.Bind = c.binds
			s.Frontends["secure"] = tls
			web(s, func(f *l7.Frontend) { f.TLS, f.Redirect, f.Routes = nil, "https", nil })
		})
		w := r.raw()
		w.send("GET /a HTTP/1.1\r\nHost: shop.example:8080\r\n\r\n")
		if resp, _ := w.answer("GET"); resp.Header.Get("Location") != "https://shop.example"+c.port+"/a" {
			t.Errorf("%v: got %s %v", c.binds, resp.Status, resp.Header)
		}
	}
}

func TestARedirectLeadsToNoOtherHost(t *testing.T) {
	r := newRig(t, func(s *l7.Snapshot) {
		web(s, func(f *l7.Frontend) {
			f.Routes = []l7.Route{
				{Methods: []string{"GET"}, Redirect: &l7.Redirect{URL: "/", Status: 302}},
				{Redirect: &l7.Redirect{URL: "https://b.example/", Status: 302}},
			}
		})
	})
	for ask, want := range map[string]string{
		"GET //evil.example/x":     "/evil.example/x",
		`GET /\evil.example/x`:     "", // refused
		"GET /a?b=//c":             "/a?b=//c",
		"POST //evil.example/x":    "https://b.example//evil.example/x",
		"OPTIONS *":                "https://b.example/",
		"POST http://evil.example": "https://b.example/",
	} {
		w := r.raw()
		w.send(ask + " HTTP/1.1\r\nHost: a\r\n\r\n")
		if resp, _ := w.answer("GET"); resp.Header.Get("Location") != want {
			t.Errorf("%s: to %s, want %s", ask, resp.Header.Get("Location"), want)
		}
	}
}
