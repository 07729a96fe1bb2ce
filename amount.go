package backstay

import (
	"fmt"
	"strconv"
	"strings"
)

// Percent is a share of the whole as the file writes it: 5%. It runs from 0 to 100.
type Percent float64

// String returns p as the file writes it.
func (p Percent) String() string { return strconv.FormatFloat(float64(p), 'f', -1, 64) + "%" }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (p *Percent) UnmarshalText(b []byte) error {
	digits, ok := strings.CutSuffix(string(b), "%")
	v, err := strconv.ParseFloat(digits, 64)
	if !ok || err != nil || !(v >= 0 && v <= 100) {
		return fmt.Errorf("%q is not a percentage; write 0%% to 100%%, as in 25%%", b)
	}
	*p = Percent(v)
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (p Percent) MarshalText() ([]byte, error) { return []byte(p.String()), nil }

// Budget is how many of something are allowed within any window of a length:
// 10/10m.
type Budget struct {
	Count  int
	Window Duration
}

// String returns b as the file writes it.
func (b Budget) String() string { return strconv.Itoa(b.Count) + "/" + b.Window.String() }

// UnmarshalText implements [encoding.TextUnmarshaler].
func (b *Budget) UnmarshalText(text []byte) error {
	count, window, ok := strings.Cut(string(text), "/")
	n, err := strconv.Atoi(count)
	var v Budget
	if !ok || err != nil || n < 1 || v.Window.UnmarshalText([]byte(window)) != nil || v.Window == 0 {
		return fmt.Errorf("%q is not a budget; write a count and its window, as in 10/10m", text)
	}
	*b = Budget{Count: n, Window: v.Window}
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (b Budget) MarshalText() ([]byte, error) { return []byte(b.String()), nil }

// Count is a number of instances or a share of them: 1 or 25%.
type Count struct {
	N       int
	Share   Percent
	Percent bool // Share counts, not N
}

// Of returns how many of whole c is. A share is rounded up or down as told.
func (c Count) Of(whole int, up bool) int {
	if !c.Percent {
		return c.N
	}
	exact := float64(c.Share) * float64(whole) / 100
	n := int(exact)
	if up && float64(n) < exact {
		n++
	}
	return n
}

// String returns c as the file writes it.
func (c Count) String() string {
	if c.Percent {
		return c.Share.String()
	}
	return strconv.Itoa(c.N)
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (c *Count) UnmarshalText(b []byte) error {
	if strings.HasSuffix(string(b), "%") {
		v := Count{Percent: true}
		if err := v.Share.UnmarshalText(b); err != nil {
			return err
		}
		*c = v
		return nil
	}
	n, err := strconv.Atoi(string(b))
	if err != nil || n < 0 || n > 1000 {
		return fmt.Errorf("%q is neither a count nor a share; write a number from 0 to 1000 or a percentage, as in 1 or 25%%", b)
	}
	*c = Count{N: n}
	return nil
}

// MarshalText implements [encoding.TextMarshaler].
func (c Count) MarshalText() ([]byte, error) { return []byte(c.String()), nil }
