package l7

import (
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/backstay/backstay/l7/h1"
)

func TestTheClientIsTheLastThatNobodyTrustedHasNamed(t *testing.T) {
	f := &front{says: &Frontend{TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}}}
	for _, c := range []struct{ peer, fields, want string }{
		{"10.0.0.1", "", "10.0.0.1"},
		{"10.0.0.1", "X-Forwarded-For: 198.51.100.1\r\n", "198.51.100.1"},
		{"10.0.0.1", "X-Forwarded-For: 6.6.6.6, 198.51.100.1\r\n", "198.51.100.1"}, // what stands before is hearsay
		{"10.0.0.1", "X-Forwarded-For: 198.51.100.1, 10.0.0.3,10.0.0.2\r\n", "198.51.100.1"},
		{"10.0.0.1", "x-forwarded-for: 6.6.6.6\r\nX-Other: 1\r\nX-FORWARDED-FOR: 198.51.100.1\r\n", "198.51.100.1"},
		{"10.0.0.1", "X-Forwarded-For: 6.6.6.6, unknown\r\n", "10.0.0.1"},
		{"10.0.0.1", "X-Forwarded-For: 6.6.6.6, unknown, 10.0.0.9\r\n", "10.0.0.9"},
		{"10.0.0.1", "X-Forwarded-For: 10.0.0.8, 10.0.0.9\r\n", "10.0.0.8"},
		{"10.0.0.1", "X-Forwarded-For: ::ffff:198.51.100.1\r\n", "198.51.100.1"},
		{"fd00::1", "X-Forwarded-For: 2001:db8::7\r\n", "2001:db8::7"},
	} {
		var r h1.Request
		if _, err := r.Parse([]byte("GET / HTTP/1.1\r\nHost: a\r\n"+c.fields+"\r\n"), h1.Limits{}); err != nil {
			t.Fatal(err)
		}
		if got := clientOf(f, &r, netip.MustParseAddr(c.peer)); got.String() != c.want {
			t.Errorf("from %s with %q: %s, want %s", c.peer, c.fields, got, c.want)
		}
	}
}

func TestAnIPv6HostIsOnePeerWhateverAddressItTakes(t *testing.T) {
	of := func(s string) peer { return peerOf(netip.MustParseAddr(s)) }
	if of("2001:db8::1") != of("2001:db8::ffff:2") || of("2001:db8::1") == of("2001:db8:0:1::1") {
		t.Error("a /64 is not one peer")
	}
	if of("192.0.2.1") == of("192.0.2.2") {
		t.Error("two IPv4 addresses are one peer")
	}
	if addrOf(&net.TCPAddr{IP: net.ParseIP("::ffff:192.0.2.1")}) != netip.MustParseAddr("192.0.2.1") {
		t.Error("an IPv4 address on an IPv6 socket is another")
	}
}

func TestKeptConnectionsAreBoundedAndAge(t *testing.T) {
	var pool idlePool
	s := &server{}
	s.open.Store(true)
	up := func(since int64) *upstream {
		return &upstream{timed: timed{Conn: &pipe{}}, idleSince: since}
	}
	if !pool.put(up(1), s, 2) || !pool.put(up(2), s, 2) || pool.put(up(3), s, 2) {
		t.Error("not two are kept of three")
	}
	pool.age(2)
	if u := pool.take(); u == nil || u.idleSince != 2 || pool.take() != nil {
		t.Error("the older one has not gone, or the younger has")
	}
	s.open.Store(false)
	if pool.put(up(3), s, 2) || pool.count.Load() != 0 {
		t.Error("kept to a server that takes nothing")
	}
}

// A log follows its path by itself, and stays with what it has for a while if
// nothing can be made there.
func TestALogLooksForItsFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	path := filepath.Join(dir, "access.log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	w := &logWriter{accessLog: &accessLog{path: path}, log: slog.New(slog.DiscardHandler)}
	defer w.close()
	say := func(text string) error {
		w.batch, w.lines = append(w.batch[:0], text+"\n"...), 1
		return w.flush()
	}
	has := func(file, want string) {
		t.Helper()
		if got, _ := os.ReadFile(file); string(got) != want {
			t.Errorf("%s has %q, want %q", filepath.Base(file), got, want)
		}
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(say("1"))
	must(os.Rename(path, path+".1"))
	w.looked = time.Now()
	must(say("2")) // it has looked a moment ago
	w.looked = time.Now().Add(-logLook)
	must(say("3"))
	has(path+".1", "1\n2\n")
	has(path, "3\n")

	must(os.Rename(dir, dir+".gone")) // and nothing can be made in its place
	w.looked = time.Now().Add(-logLook)
	must(say("4"))
	has(filepath.Join(dir+".gone", "access.log"), "3\n4\n")
	w.looked, w.moved = time.Now().Add(-logLook), time.Now().Add(-logMoved)
	if say("5") == nil {
		t.Error("lines go to a file that has been away for long")
	}
	must(os.Mkdir(dir, 0o700))
	must(say("6"))
	has(path, "6\n")
}
