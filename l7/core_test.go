package l7

import (
	"bytes"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay"
)

// asked is a request for routes: METHOD HOST PATH FROM and fields NAME=VALUE.
type asked struct{ fields map[string]string }

func (a asked) HasField(name, value string) bool {
	v, ok := a.fields[name]
	return ok && (value == "" || v == value)
}

func newQuery(text string) *query {
	words := strings.Fields(text)
	a := asked{fields: map[string]string{}}
	for _, f := range words[4:] {
		name, value, _ := strings.Cut(f, "=")
		a.fields[name] = value
	}
	path, _ := cleanPath(nil, []byte(words[2]))
	return &query{
		method: []byte(words[0]), host: hostName(nil, []byte(words[1])), path: path,
		client: netip.MustParseAddr(words[3]), fields: a,
	}
}

func newTestRouter(says []Route) *router {
	routes := make([]*route, len(says))
	for i := range says {
		routes[i] = newRoute(i, &says[i])
	}
	return newRouter(says, routes)
}

func TestTheFirstRouteInFileOrderTakesTheRequest(t *testing.T) {
	r := newTestRouter([]Route{
		{Host: []string{"a.example"}, Path: "/exact"},                                      // 0
		{Host: []string{"*.example"}, Path: "/api/", Methods: []string{"GET", "HEAD"}},     // 1
		{Path: "/internal/", Clients: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}, // 2
		{Path: "/internal/"}, // 3
		{Host: []string{"a.example", "b.example"}, Headers: map[string]string{"X-Canary": "*"}},      // 4
		{Host: []string{"*.a.example"}, Headers: map[string]string{"X-Kind": "beta", "Cookie": "*"}}, // 5
		{Host: []string{"a.example"}, Path: "/"},                                                     // 6
	})
	for text, want := range map[string]int{
		"GET a.example /exact 1.1.1.1":                        0,
		"GET A.EXAMPLE:8080 /exact 1.1.1.1":                   0, // case and port do not count
		"GET a.example. /exact 1.1.1.1":                       0,
		"GET a.example /exact/ 1.1.1.1":                       6,
		"GET a.example /api/x 1.1.1.1":                        1,
		"POST a.example /api/x 1.1.1.1":                       6,
		"GET x.y.example /api/ 1.1.1.1":                       1,
		"GET example /api/ 1.1.1.1":                           -1, // *.example is what lies below it
		"GET other.test /internal/x 10.1.2.3":                 2,
		"GET other.test /internal/x 11.1.2.3":                 3,
		"GET a.example /internal/x 10.1.2.3":                  2,
		"GET b.example /x 1.1.1.1 x-canary=1":                 4,
		"GET b.example /x 1.1.1.1":                            -1,
		"GET x.a.example /x 1.1.1.1 x-kind=beta cookie=c":     5,
		"GET x.a.example /x 1.1.1.1 x-kind=alpha cookie=c":    -1,
		"GET x.a.example /api/x 1.1.1.1 x-kind=beta cookie=c": 1,
		"GET a.example /x/../exact 1.1.1.1":                   0,
		"GET other.test /%69nternal/x 11.1.2.3":               3,
		"GET other.test //internal//x 11.1.2.3":               3,
		"OPTIONS a.example * 1.1.1.1":                         6,
		"GET [::1]:80 /internal/ 10.0.0.1":                    2,
	} {
		got := -1
		if c := r.find(newQuery(text)); c != nil {
			got = c.number
		}
		if got != want {
			t.Errorf("%s: route %d, want %d", text, got, want)
		}
	}
}

// The index by host must never change what going through all routes in order
// would find.
func TestTheIndexOfHostsFindsWhatALineByLineSearchFinds(t *testing.T) {
	label := rapid.SampledFrom([]string{"a", "b", "c"})
	name := rapid.Custom(func(t *rapid.T) string { return strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") })
	pattern := rapid.Custom(func(t *rapid.T) string {
		return rapid.SampledFrom([]string{"", "*."}).Draw(t, "wild") + name.Draw(t, "name")
	})
	rapid.Check(t, func(t *rapid.T) {
		says := make([]Route, rapid.IntRange(0, 8).Draw(t, "routes"))
		for i := range says {
			says[i].Host = rapid.SliceOfN(pattern, 0, 3).Draw(t, "hosts")
		}
		host := name.Draw(t, "host")
		want := slices.IndexFunc(says, func(s Route) bool {
			return len(s.Host) == 0 || slices.ContainsFunc(s.Host, func(p string) bool { return hostMatches(p, host) })
		})
		got := -1
		if c := newTestRouter(says).find(newQuery("GET " + host + " / 1.1.1.1")); c != nil {
			got = c.number
		}
		if got != want {
			t.Fatalf("%v for %s: %d, want %d", says, host, got, want)
		}
	})
}

func TestPathsAreSeenThrough(t *testing.T) {
	for in, want := range map[string]string{
		"/": "/", "/a/b": "/a/b", "//a": "/a", "/a/./b": "/a/b", "/a/../b": "/b", "/../../a": "/a", "/a/..": "/",
		"/a/b/../": "/a/", "/%61": "/a", "/%2e%2e/a": "/a", "/a/.": "/a/", "/.hidden": "/.hidden", "/a%2fb": "/a/b",
		"/a..b": "/a..b", "*": "*", "/%": "/%", "/%zz": "/%zz", "/%5Ca": "/a", "/a/..%5c..%5cb": "/b",
	} {
		if got, _ := cleanPath(nil, []byte(in)); string(got) != want {
			t.Errorf("%s: %s, want %s", in, got, want)
		}
	}
}

func FuzzCleanPath(f *testing.F) {
	for _, s := range []string{"/", "/a/../b", "/%2e%2e/", "//..//", "/a/%2e", "*", "/%%%"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, path []byte) {
		before := bytes.Clone(path)
		clean, _ := cleanPath(nil, path)
		if !bytes.Equal(before, path) {
			t.Fatal("the path that goes to the server was changed")
		}
		if len(path) > 0 && path[0] == '/' && (len(clean) == 0 || clean[0] != '/') {
			t.Fatalf("%q became %q", path, clean)
		}
		for segment := range strings.SplitSeq(string(clean), "/") {
			if segment == ".." && len(path) > 0 && path[0] == '/' {
				t.Fatalf("%q became %q", path, clean)
			}
		}
	})
}

func newMembers(n int) []*member {
	list := make([]*member, n)
	for i := range list {
		list[i] = &member{server: &server{id: strconv.Itoa(i)}}
	}
	return list
}

// Whatever the loads, ejections and draws: an ejected server is picked only if
// all are, one that was tried never, and somebody always if somebody may be.
func TestPickKeepsItsPromises(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		list := newMembers(rapid.IntRange(0, 6).Draw(t, "servers"))
		var tried []*server
		ejected, free := 0, 0
		for _, m := range list {
			m.inFlight.Store(rapid.Int64Range(0, 3).Draw(t, "load"))
			out, was := rapid.Bool().Draw(t, "ejected"), rapid.Bool().Draw(t, "tried")
			if out {
				m.until.Store(10)
				ejected++
			}
			if was {
				tried = append(tried, m.server)
			} else if !out {
				free++
			}
		}
		balance := rapid.SampledFrom([]backstay.Balance{backstay.RoundRobin, backstay.LeastConn, backstay.P2C}).Draw(t, "balance")
		i := pick(balance, list, 5, rapid.Uint64().Draw(t, "draw"), rapid.Uint64().Draw(t, "turn"), tried)
		may := free > 0 || ejected == len(list) && len(tried) < len(list)
		switch {
		case (i >= 0) != may:
			t.Fatalf("picked %d, somebody may: %v", i, may)
		case i < 0:
		case slices.Contains(tried, list[i].server):
			t.Fatal("picked one that was tried")
		case list[i].ejected(5) && ejected < len(list):
			t.Fatal("picked an ejected one although others are in service")
		}
		for _, m := range list {
			if i >= 0 && balance == backstay.LeastConn && m.load() < list[i].load() && !slices.Contains(tried, m.server) && m.ejected(5) == list[i].ejected(5) {
				t.Fatal("not the least loaded one")
			}
		}
	})
}

func TestBalance(t *testing.T) {
	list := newMembers(3)
	counts := func(b backstay.Balance) (n [3]int) {
		draw := uint64(88172645463325252)
		for turn := range uint64(3000) {
			draw ^= draw << 13
			draw ^= draw >> 7
			draw ^= draw << 17
			n[pick(b, list, 1, draw, turn, nil)]++
		}
		return n
	}
	if n := counts(backstay.RoundRobin); n != [3]int{1000, 1000, 1000} {
		t.Errorf("round robin: %v", n)
	}
	for _, b := range []backstay.Balance{backstay.P2C, backstay.LeastConn} { // nobody is loaded: about even
		if n := counts(b); min(n[0], n[1], n[2]) < 850 {
			t.Errorf("%s: %v", b, n)
		}
	}
	list[1].inFlight.Store(5)
	if n := counts(backstay.LeastConn); n[1] != 0 {
		t.Errorf("least_conn sent %d to the loaded one", n[1])
	}
	if n := counts(backstay.P2C); n[1] != 0 {
		t.Errorf("p2c sent %d to the loaded one: of two it is never the better", n[1])
	}
}

func TestOutlierRules(t *testing.T) {
	sec := int64(time.Second)
	c := &backstay.Outlier{ConsecutiveErrors: 3, ErrorRate: 50, Eject: backstay.Duration(10 * sec), MaxEjected: 50}
	var o outlier
	note := func(now int64, bad bool) string { return o.note(c, now, bad) }
	note(1, true)
	note(2, true)
	note(3, false) // ends the row
	note(4, true)
	if why := note(5, true); why != "" {
		t.Errorf("two in a row: %s", why)
	}
	if why := note(6, true); why != "3 errors in a row" {
		t.Errorf("three in a row: %q", why)
	}
	o, c.ConsecutiveErrors = outlier{}, 0
	for i := range int64(49) {
		if why := note(i, i%2 == 0); why != "" {
			t.Errorf("at %d requests: %s", i+1, why)
		}
	}
	if why := note(50, true); !strings.HasPrefix(why, "26 of 50") {
		t.Errorf("a rate above half: %q", why)
	}
	if why := note(50+31*sec, true); why != "" {
		t.Errorf("what is older than 30 s counts: %s", why)
	}
}

func TestEjectionsDoubleWhileTheyRepeatAndAreForgotten(t *testing.T) {
	sec := int64(time.Second)
	c := &backstay.Outlier{ConsecutiveErrors: 1, Eject: backstay.Duration(10 * sec)}
	var o outlier
	now := sec
	for i, want := range []int64{10, 20, 40, 80, 160, 320, 600, 600} {
		if got := (o.eject(c, now) - now) / sec; got != want {
			t.Errorf("ejection %d: %d s, want %d", i, got, want)
		}
		if o.note(c, now+sec, true) != "" {
			t.Error("an error while out counts")
		}
		now = o.until + sec // not well for long
	}
	now = o.until + 601*sec
	if got := (o.eject(c, now) - now) / sec; got != 10 {
		t.Errorf("after it was well for as long as it was out: %d s", got)
	}
}

func TestNeverMoreThanAShareIsEjected(t *testing.T) {
	for _, c := range []struct {
		share     backstay.Percent
		out, size int
		may       bool
	}{
		{50, 0, 1, false},
		{50, 0, 2, true},
		{50, 1, 2, false},
		{50, 0, 3, true},
		{50, 1, 3, false},
		{50, 1, 4, true},
		{100, 2, 3, true},
		{0, 0, 10, false},
	} {
		if got := mayEject(&backstay.Outlier{MaxEjected: c.share}, c.out, c.size); got != c.may {
			t.Errorf("%v: %v", c, got)
		}
	}
}

// The table of DECIDED: what may be sent again, when, and who pays.
func TestRetryTable(t *testing.T) {
	yes, no := func() bool { return true }, func() bool { return false }
	r := Retry{If: []string{"connect", "reset", "503"}, Attempts: 1, Budget: 20}
	wide := r
	wide.NonIdempotent = true
	for name, c := range map[string]struct {
		rules      Retry
		t          try
		so         tries
		idempotent bool
		pay        func() bool
		want       verdict
	}{
		"refused, GET":                 {r, try{outcome: unreached, kept: true}, tries{}, true, yes, elsewhere},
		"refused, POST":                {r, try{outcome: unreached, kept: true}, tries{}, false, yes, elsewhere},
		"refused twice":                {r, try{outcome: unreached, kept: true}, tries{retries: 1}, true, yes, settle},
		"refused, nothing left to pay": {r, try{outcome: unreached, kept: true}, tries{}, true, no, settle},
		"cut, GET":                     {r, try{outcome: cut, wrote: true, kept: true}, tries{}, true, yes, elsewhere},
		"cut, POST":                    {r, try{outcome: cut, wrote: true, kept: true}, tries{}, false, yes, settle},
		"cut, POST, widened":           {wide, try{outcome: cut, wrote: true, kept: true}, tries{}, false, yes, elsewhere},
		"cut, POST, nothing written":   {r, try{outcome: cut, kept: true}, tries{}, false, yes, elsewhere},
		"cut, body gone":               {r, try{outcome: cut, wrote: true}, tries{}, true, yes, settle},
		"kept one closed, GET":         {r, try{outcome: cut, reused: true, wrote: true, kept: true}, tries{retries: 1}, true, no, afresh},
		"kept one closed, POST":        {r, try{outcome: cut, reused: true, wrote: true, kept: true}, tries{}, false, yes, settle},
		"kept one closed, unwritten":   {r, try{outcome: cut, reused: true, kept: true}, tries{}, false, no, afresh},
		"kept one closed again":        {r, try{outcome: cut, reused: true, wrote: true, kept: true}, tries{afresh: true}, true, yes, elsewhere},
		"late, not asked for":          {r, try{outcome: late, wrote: true, kept: true}, tries{}, true, yes, settle},
		"503, asked for":               {r, try{outcome: answered, status: 503, wrote: true, kept: true}, tries{}, true, yes, elsewhere},
		"502, not asked for":           {r, try{outcome: answered, status: 502, wrote: true, kept: true}, tries{}, true, yes, settle},
		"200":                          {r, try{outcome: answered, status: 200, wrote: true, kept: true}, tries{}, true, yes, settle},
		"no HTTP":                      {r, try{outcome: unreadable, wrote: true, kept: true}, tries{}, true, yes, settle},
	} {
		rules := c.rules.compile()
		if got := rules.after(c.t, &c.so, c.idempotent, c.pay); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Whatever a route says and whatever happens, a request that may have been
// carried out is sent again only if that is harmless, and never for ever.
func TestNoRuleSendsTwiceWhatMayHaveBeenDone(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := Retry{
			If:       rapid.SliceOf(rapid.SampledFrom([]string{"connect", "reset", "timeout", "500", "503"})).Draw(t, "if"),
			Attempts: rapid.IntRange(0, 50).Draw(t, "attempts"),
		}
		rules, so := r.compile(), tries{}
		safe := rapid.Bool().Draw(t, "idempotent")
		for n := 0; ; n++ {
			x := try{
				outcome: outcome(rapid.IntRange(0, int(unreadable)).Draw(t, "outcome")),
				status:  rapid.SampledFrom([]int{200, 500, 503}).Draw(t, "status"),
				reused:  rapid.Bool().Draw(t, "reused"), wrote: rapid.Bool().Draw(t, "wrote"), kept: rapid.Bool().Draw(t, "kept"),
			}
			v := rules.after(x, &so, safe, func() bool { return true })
			if v == settle {
				return
			}
			if !x.kept || x.wrote && !safe {
				t.Fatalf("%+v was sent again", x)
			}
			if n > maxAttempts+1 {
				t.Fatal("it has no end")
			}
		}
	})
}

func TestBudget(t *testing.T) {
	sec := int64(time.Second)
	var b bucket
	spend := func(now int64, first uint64) (n int) {
		for b.take(now, first, 0.2) {
			n++
		}
		return n
	}
	if n := spend(sec, 0); n != 100 {
		t.Errorf("a full bucket pays for %d", n)
	}
	if n := spend(sec, 50); n != 10 {
		t.Errorf("50 first tries pay for %d", n)
	}
	if n := spend(sec, 54); n != 0 {
		t.Errorf("4 first tries pay for %d", n)
	}
	if n := spend(sec, 55); n != 1 {
		t.Errorf("the fifth pays for %d", n)
	}
	// 1000 first tries a second for a minute: full is ten seconds of them.
	first := uint64(55)
	for s := range int64(60) {
		b.fill((s+2)*sec, first, 0.2)
		first += 1000
	}
	if n := spend(61*sec+sec/2, first); n < 1800 || n > 2000 {
		t.Errorf("after a minute of 1000/s it pays for %d, want about 2000", n)
	}
}

func TestHostNames(t *testing.T) {
	for in, want := range map[string]string{
		"A.Example": "a.example", "a.example:80": "a.example", "a.example.:80": "a.example", "[::1]:8080": "[::1]", "[::1]": "[::1]", "": "",
	} {
		if got := hostName(nil, []byte(in)); string(got) != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

func TestQuantilesAreUpperBounds(t *testing.T) {
	var h histogram
	if h.quantile(0.5) != 0 {
		t.Error("of nothing")
	}
	for range 99 {
		h.add(int64(100 * time.Microsecond))
	}
	h.add(int64(time.Second))
	if p50, p99 := h.quantile(0.5), h.quantile(0.99); p50 != bound(0) || p99 < 1 || p99 > 2.1 {
		t.Errorf("p50 %v p99 %v", p50, p99)
	}
	for i := range histogramBuckets { // each bucket ends where it says
		var h histogram
		h.add(int64(histogramLeast) << i)
		if h.buckets[i].Load() != 1 {
			t.Errorf("%v s is not in bucket %d", bound(i), i)
		}
	}
}
