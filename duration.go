package backstay

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// Duration is a time span as the file writes it: with its unit, as in 200ms,
// 1m30s or 7d.
type Duration time.Duration

// Std returns d as the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String returns d with its unit, without the zeroes that Go's own form adds.
func (d Duration) String() string {
	if day := 24 * time.Hour; d != 0 && d.Std()%day == 0 {
		return strconv.FormatInt(int64(d.Std()/day), 10) + "d"
	}
	s := d.Std().String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// days is a leading number of days, which Go's own durations lack.
var days = regexp.MustCompile(`^([0-9]{1,5})d(.*)$`)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (d *Duration) UnmarshalText(b []byte) error {
	text, total := string(b), time.Duration(0)
	if m := days.FindStringSubmatch(text); m != nil {
		n, _ := strconv.Atoi(m[1])
		total, text = time.Duration(n)*24*time.Hour, m[2]
	}
	if text == "" && total > 0 {
		*d = Duration(total)
		return nil
	}
	v, err := time.ParseDuration(text)
	if err != nil || text == "0" || v < 0 || text[0] == '+' { // the standard library lets a bare 0 pass
		return fmt.Errorf("%q is not a duration; write the unit, as in 200ms or 5s", b)
	}
	*d = Duration(total + v)
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// Range is two durations, shortest and longest: 100ms..30s.
type Range struct{ Min, Max Duration }

// String returns r as the file writes it.
func (r Range) String() string { return r.Min.String() + ".." + r.Max.String() }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Range) UnmarshalText(b []byte) error {
	low, high, ok := strings.Cut(string(b), "..")
	var v Range
	if !ok || v.Min.UnmarshalText([]byte(low)) != nil || v.Max.UnmarshalText([]byte(high)) != nil || v.Min > v.Max {
		return fmt.Errorf("%q is not a range; write the shortest and the longest, as in 100ms..30s", b)
	}
	*r = v
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (r Range) MarshalText() ([]byte, error) { return []byte(r.String()), nil }
