package config_test

import (
	"testing"

	"github.com/backstay/backstay/l7"
)

// TestSocketsThatCannotBeBoundTogether: every address is in the way of each.
func TestSocketsThatCannotBeBoundTogether(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want bool
	}{
		{":80", ":80", true},
		{":80", ":81", false},
		{":80", "127.0.0.1:80", true},
		{":80", "[::1]:80", true},
		{"0.0.0.0:80", "[::]:80", true},
		{"0.0.0.0:80", "10.0.0.1:80", true},
		{"10.0.0.1:80", "10.0.0.2:80", false},
		{"127.0.0.1:80", "[::1]:80", false},
		{"127.0.0.1:80", "[::ffff:127.0.0.1]:80", true},
		{"[::1]:80", "[0:0::1]:80", true},
		{"unix:/run/a", "unix:/run/a", true},
		{"unix:/run/a", "unix:/run/b", false},
		{"unix:/run/a", ":80", false},
	} {
		if got := bind(t, c.a).Overlaps(bind(t, c.b)); got != c.want {
			t.Errorf("%s and %s: %v", c.a, c.b, got)
		}
		if got := bind(t, c.b).Overlaps(bind(t, c.a)); got != c.want {
			t.Errorf("%s and %s: %v", c.b, c.a, got)
		}
	}
}

func bind(t *testing.T, s string) l7.Bind {
	t.Helper()
	b, err := l7.ParseBind(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBindRefusesWhatIsNoSocket(t *testing.T) {
	for _, s := range []string{
		"", ":", "80", ":0", ":080", ":65536", ":+1", "localhost:80", "127.0.0.1", "127.0.0.1:0", "[::1%eth0]:80", "::1:80", "1.2.3:80",
		"unix:", "unix:run/x", "unix:/a\x00b", "unix:/" + string(make([]byte, 200)), "*:80", ":80/udp", ":80-90", "vip/a:80",
	} {
		if b, err := l7.ParseBind(s); err == nil {
			t.Errorf("%q is %+v", s, b)
		}
	}
}
