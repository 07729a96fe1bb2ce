package backstay

import (
	"fmt"
	"maps"
	"net/netip"
	"reflect"
	"regexp"
	"slices"
	"strings"
)

// Mistakes collects what a Check finds. The codes a Check may use are in
// config's list.
type Mistakes []Mistake

// Say adds a mistake at key. Try may be empty.
func (m *Mistakes) Say(code, key, try, format string, args ...any) {
	*m = append(*m, Mistake{Code: code, Key: key, Try: try, What: fmt.Sprintf(format, args...)})
}

// Unknown adds a mistake at key about a word where only those of known may stand.
func (m *Mistakes) Unknown(code, key string, known []string, format string, args ...any) {
	*m = append(*m, Mistake{Code: code, Key: key, Known: known, What: fmt.Sprintf(format, args...)})
}

// Under adds what was found in the part that stands at key.
func (m *Mistakes) Under(key string, found []Mistake) {
	for _, f := range found {
		f.Key = strings.TrimSuffix(key+"."+f.Key, ".")
		*m = append(*m, f)
	}
}

// OneOf adds a mistake unless value is one of words.
func (m *Mistakes) OneOf(key, value string, words ...string) {
	if !slices.Contains(words, value) {
		m.Unknown("unknown_word", key, words, "%q is none of %s", value, strings.Join(words, ", "))
	}
}

// Within adds a mistake unless low ≤ value ≤ high.
func (m *Mistakes) Within(key string, value, low, high int) {
	switch {
	case value < low:
		m.Say("out_of_range", key, fmt.Sprint(low), "%d is out of range: %d to %d", value, low, high)
	case value > high:
		m.Say("out_of_range", key, fmt.Sprint(high), "%d is out of range: %d to %d", value, low, high)
	}
}

// AtLeast adds a mistake if d is shorter than low.
func (m *Mistakes) AtLeast(key string, d, low Duration) {
	if d < low {
		m.Say("out_of_range", key, low.String(), "%s is shorter than %s", d, low)
	}
}

// Path adds a mistake unless path is absolute, or empty.
func (m *Mistakes) Path(key, path string) {
	switch {
	case path == "":
		m.Say("empty_value", key, "", "is empty")
	case !strings.HasPrefix(path, "/"):
		m.Say("not_absolute", key, "", "%q is not an absolute path", path)
	default:
		m.Text(key, path)
	}
}

// Text adds a mistake if s holds a zero byte, which ends a string to the kernel.
func (m *Mistakes) Text(key, s string) {
	if strings.ContainsRune(s, 0) {
		m.Say("zero_byte", key, "", "%q holds a zero byte", s)
	}
}

// Argv adds what is wrong with a command, whose path is absolute.
func (m *Mistakes) Argv(key string, argv []string) {
	if len(argv) == 0 {
		m.Say("empty_list", key, "[/usr/bin/true]", "is empty")
		return
	}
	m.Path(key+"[0]", argv[0])
	for i, arg := range argv[1:] {
		m.Text(fmt.Sprintf("%s[%d]", key, i+1), arg)
	}
}

// Once adds a mistake for each of list that stands there before.
func (m *Mistakes) Once(key string, list []string) {
	seen := make(map[string]bool, len(list))
	for i, s := range list {
		if seen[s] {
			m.Say("twice_in_list", fmt.Sprintf("%s[%d]", key, i), "", "%q is in the list already", s)
		}
		seen[s] = true
	}
}

// token is a name of HTTP: of a field or a method (RFC 9110, 5.6.2).
var token = regexp.MustCompile("^[!#$%&'*+.^_`|~0-9A-Za-z-]+$")

// Headers adds what is wrong with names and values of HTTP fields.
func (m *Mistakes) Headers(key string, headers map[string]string) {
	seen := map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at, value := key+"."+name, headers[name]
		lower := strings.ToLower(name)
		switch first, twice := seen[lower]; {
		case !token.MatchString(name):
			m.Say("bad_header_name", at, "X-Name", "%q is not the name of a header", name)
		case twice:
			m.Say("header_twice", at, "", "is the header %s again: case does not count", first)
		case strings.ContainsFunc(value, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }):
			m.Say("bad_header_value", at, "", "%q holds a control character", value)
		case strings.TrimSpace(value) != value:
			m.Say("bad_header_value", at, strings.TrimSpace(value), "%q begins or ends with white space, which HTTP drops", value)
		}
		seen[lower] = name
	}
}

// Bounds of a probe.
const (
	minPeriod     = Duration(10e6) // a hundred questions a second are no load, a thousand are
	maxThresholds = 10_000
)

// Check returns what is wrong with p by itself. Its port is looked up by
// whoever knows the service.
func (p *Probe) Check() []Mistake {
	var m Mistakes
	p.checkKind(&m)
	p.checkNumbers(&m)
	if p.HTTP != "" {
		p.checkHTTP(&m)
	}
	if len(p.Exec) > 0 {
		m.Argv("exec", p.Exec)
	}
	if p.Address != "" {
		if _, err := netip.ParseAddr(p.Address); err != nil {
			m.Say("bad_address", "address", "127.0.0.1", "%q is not an IP address", p.Address)
		}
	}
	return m
}

// checkKind refuses a probe with no question or several, and keys that the
// question has no use for.
func (p *Probe) checkKind(m *Mistakes) {
	kinds := p.Kinds()
	switch {
	case len(kinds) == 0:
		m.Say("no_probe", "", "http: /healthz", "asks nothing: one of %s is missing", strings.Join(ProbeKinds, ", "))
		return
	case len(kinds) > 1:
		m.Say("several_probes", kinds[1], "", "a probe asks one question; %s is there already", kinds[0])
		return
	}
	var plain Probe
	plain.SetDefaults()
	isHTTP, isExec := p.HTTP != "", len(p.Exec) > 0
	for _, k := range []struct {
		key      string
		set, use bool
		of       string
	}{
		{"headers", len(p.Headers) > 0, isHTTP, "http"},
		{"expect", !reflect.DeepEqual(p.Expect, plain.Expect), isHTTP, "http"},
		{"user", p.User != "", isExec, "exec"},
		{"port", p.Port != "", !isExec, "a probe that connects"},
		{"address", p.Address != "", !isExec, "a probe that connects"},
	} {
		if k.set && !k.use {
			m.Say("useless_key", k.key, "", "belongs to %s, not to %s", k.of, kinds[0])
		}
	}
}

func (p *Probe) checkNumbers(m *Mistakes) {
	m.AtLeast("period", p.Period, minPeriod)
	m.AtLeast("timeout", p.Timeout, Duration(1e6))
	if p.Timeout > p.Period && p.Period >= minPeriod {
		m.Say("timeout_over_period", "timeout", p.Period.String(), "%s is longer than the period, %s", p.Timeout, p.Period)
	}
	m.Within("failure_threshold", p.FailureThreshold, 1, maxThresholds)
	m.Within("success_threshold", p.SuccessThreshold, 1, maxThresholds)
}

func (p *Probe) checkHTTP(m *Mistakes) {
	if bad := BadTarget(p.HTTP); bad != "" {
		m.Say("bad_path", "http", "/healthz", "%q %s", p.HTTP, bad)
	}
	m.Headers("headers", p.Headers)
	if len(p.Expect.Status) == 0 {
		m.Say("empty_list", "expect.status", "200-399", "no status passes")
	}
	if _, err := regexp.Compile(p.Expect.Body); err != nil {
		what := strings.TrimPrefix(err.Error(), "error parsing regexp: ")
		m.Say("bad_regexp", "expect.body", "", "%q is not a regular expression: %s", p.Expect.Body, what)
	}
}

// BadTarget returns what is wrong with path as the target of a request, or "".
func BadTarget(path string) string {
	switch {
	case !strings.HasPrefix(path, "/"):
		return "does not begin with /"
	case strings.ContainsFunc(path, func(r rune) bool { return r <= ' ' || r == '#' || r > '~' }):
		return "holds a character that must be %-encoded"
	default:
		return ""
	}
}

// Check returns what is wrong with p by itself.
func (p *Pool) Check() []Mistake {
	const maxKeepalive = 10_000 // per server; each costs a socket on both sides
	var m Mistakes
	m.OneOf("balance", string(p.Balance), string(RoundRobin), string(LeastConn), string(P2C))
	m.Within("keepalive", p.Keepalive, 0, maxKeepalive)
	if o := p.Outlier; o != nil {
		m.Within("outlier.consecutive_errors", o.ConsecutiveErrors, 1, maxThresholds)
		m.AtLeast("outlier.eject", o.Eject, Duration(100e6))
	}
	return m
}
