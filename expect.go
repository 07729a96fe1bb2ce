package backstay

import (
	"fmt"
	"strconv"
	"strings"
)

// PortRef names a port of a service, or is its number. Empty is the only port,
// else the one named http.
type PortRef string

// Number returns the port if r is a number.
func (r PortRef) Number() (n uint16, ok bool) {
	v, err := strconv.ParseUint(string(r), 10, 16)
	return uint16(v), err == nil && v > 0
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *PortRef) UnmarshalText(b []byte) error {
	v := PortRef(b)
	digits := strings.Trim(string(b), "0123456789") == ""
	if _, number := v.Number(); number || !digits && ValidName(string(b)) {
		*r = v
		return nil
	}
	return fmt.Errorf("%q is not a port; write the name of a port of the service or a number from 1 to 65535", b)
}

// MarshalText implements [encoding.TextMarshaler].
func (r PortRef) MarshalText() ([]byte, error) { return []byte(r), nil }

// Expect is which answers of an HTTP probe pass. The zero value passes none.
type Expect struct {
	Status Statuses `yaml:"status" change:"live"` // those that pass, as in 200-299,304
	Body   string   `yaml:"body" change:"live"`   // RE2 that the first 64 KiB must match; empty is any body
}

// SetDefaults fills in what a file leaves out.
func (e *Expect) SetDefaults() { *e = Expect{Status: Statuses{{Low: 200, High: 399}}} }

// UnmarshalText implements [encoding.TextUnmarshaler]: the short form, which is
// about the status alone.
func (e *Expect) UnmarshalText(b []byte) error {
	v := Expect{}
	if err := v.Status.UnmarshalText(b); err != nil {
		return err
	}
	*e = v
	return nil
}

// Statuses are HTTP statuses as the file writes them: 200, 200-399, 200,301-303.
type Statuses []StatusRange

// StatusRange is from Low to High, both included.
type StatusRange struct{ Low, High int }

// Has reports whether status is one of s.
func (s Statuses) Has(status int) bool {
	for _, r := range s {
		if r.Low <= status && status <= r.High {
			return true
		}
	}
	return false
}

// String returns s as the file writes it.
func (s Statuses) String() string {
	var parts []string
	for _, r := range s {
		part := strconv.Itoa(r.Low)
		if r.High != r.Low {
			part += "-" + strconv.Itoa(r.High)
		}
		parts = append(parts, part)
	}
	return strings.Join(parts, ",")
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (s *Statuses) UnmarshalText(b []byte) error {
	var v Statuses
	for part := range strings.SplitSeq(string(b), ",") {
		low, high, ranged := strings.Cut(part, "-")
		if !ranged {
			high = low
		}
		r := StatusRange{status(low), status(high)}
		if r.Low == 0 || r.High < r.Low {
			return fmt.Errorf("%q is not a status; write one, a range or a list from 100 to 599, as in 200-299,304", b)
		}
		v = append(v, r)
	}
	*s = v
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (s Statuses) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// status returns the HTTP status that text is, or 0.
func status(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || len(text) != 3 || n < 100 || n > 599 {
		return 0
	}
	return n
}
