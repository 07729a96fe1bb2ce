package supervise

import (
	"fmt"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

func TestPortsThatOthersListenOnAreLeftOut(t *testing.T) {
	asked := 0
	p := newPorts(func(n uint16) bool { asked++; return n == 25000 }, 0)
	got, ok := p.give(time.Now(), "a", map[string]backstay.Port{"http": {}, "admin": {Number: 9000}})
	if !ok || got["http"] != 25000 || got["admin"] != 9000 {
		t.Errorf("%v, %v", got, ok)
	}
	if _, ok := p.give(time.Now(), "b", map[string]backstay.Port{"http": {}}); ok || p.taken[25000] != "a" {
		t.Errorf("a port was given twice: %v", p.taken)
	}
}

func TestEveryPortHasOneOwner(t *testing.T) {
	p, now := newPorts(func(uint16) bool { return true }, 9990), time.Now()
	for i := range lastPort - firstPort + 1 {
		if _, ok := p.give(now, fmt.Sprint(i), map[string]backstay.Port{"http": {}}); !ok {
			t.Fatalf("only %d ports", i)
		}
	}
	if got, ok := p.give(now, "more", map[string]backstay.Port{"http": {}}); ok {
		t.Errorf("one more: %v", got)
	}
	p.drop(now, "17")
	if got, ok := p.give(now.Add(portRest-1), "more", map[string]backstay.Port{"http": {}}); ok {
		t.Errorf("a port that rests: %v", got)
	}
	if _, ok := p.give(now.Add(portRest), "more", map[string]backstay.Port{"http": {}}); !ok {
		t.Error("a rested port is not given out")
	}
}

func TestWhatCannotBeGivenWholeIsNotGiven(t *testing.T) {
	p := newPorts(func(n uint16) bool { return n == 20005 }, 0)
	if got, ok := p.give(time.Now(), "a", map[string]backstay.Port{"a": {}, "b": {}}); ok || len(p.taken) != 0 {
		t.Errorf("%v, taken %v", got, p.taken)
	}
}
