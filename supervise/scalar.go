package supervise

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
)

// PortWish is a port as the file asks for it: auto, a number, either with /udp.
type PortWish backstay.Port

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *PortWish) UnmarshalText(b []byte) error {
	number, udp := strings.CutSuffix(string(b), "/udp")
	v := PortWish{UDP: udp}
	if number != "auto" {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n == 0 {
			return fmt.Errorf("%q is not a port; write auto or a number from 1 to 65535, with /udp for UDP", b)
		}
		v.Number = uint16(n)
	}
	*p = v
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (p PortWish) MarshalText() ([]byte, error) {
	s := "auto"
	if p.Number > 0 {
		s = strconv.Itoa(int(p.Number))
	}
	if p.UDP {
		s += "/udp"
	}
	return []byte(s), nil
}

// Octal is file permission bits as the file writes them: "022".
type Octal uint32

// UnmarshalText implements [encoding.TextUnmarshaler].
func (o *Octal) UnmarshalText(b []byte) error {
	v, err := strconv.ParseUint(string(b), 8, 12)
	if err != nil || len(b) < 3 || len(b) > 4 || v > 0o777 {
		return fmt.Errorf("%q is not an octal number of three digits; write it in quotes, as in \"027\"", b)
	}
	*o = Octal(v)
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (o Octal) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%03o", uint32(o)), nil }

// Rlimit is a limit of setrlimit(2): a number, a size, or unlimited (-1). Soft
// and hard are the same.
type Rlimit int64

// UnmarshalText implements [encoding.TextUnmarshaler].
func (r *Rlimit) UnmarshalText(b []byte) error {
	if string(b) == "unlimited" {
		*r = -1
		return nil
	}
	if n, err := strconv.ParseUint(string(b), 10, 62); err == nil {
		*r = Rlimit(n)
		return nil
	}
	var s backstay.Size
	if err := s.UnmarshalText(b); err != nil {
		return fmt.Errorf("%q is not a limit; write a number, a size as in 512MiB, or unlimited", b)
	}
	*r = Rlimit(s)
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (r Rlimit) MarshalText() ([]byte, error) {
	if r < 0 {
		return []byte("unlimited"), nil
	}
	return strconv.AppendInt(nil, int64(r), 10), nil
}
