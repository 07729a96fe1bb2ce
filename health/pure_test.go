package health_test

import (
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/health"
)

var t0 = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestThresholdCountsInARow(t *testing.T) {
	var h health.Threshold
	changes := ""
	for i, answer := range "bgbggbbgbbbbgg" {
		if h.Add(answer == 'g', 2, 3, t0.Add(time.Duration(i)*time.Second)) {
			changes += string("BG"[map[bool]int{true: 1}[h.Good]])
		} else {
			changes += "."
		}
	}
	if want := "....G.....B..G"; changes != want {
		t.Errorf("changes %s, want %s", changes, want)
	}
	if !h.Since.Equal(t0.Add(13*time.Second)) || h.Streak != 2 || !h.Last {
		t.Errorf("%+v", h)
	}
}

// TestThresholdIsKubernetes compares with the rule said in another way: it
// changes when the last n answers are all against it.
func TestThresholdIsKubernetes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rise, fall := rapid.IntRange(-1, 4).Draw(t, "rise"), rapid.IntRange(-1, 4).Draw(t, "fall")
		answers := rapid.SliceOf(rapid.Bool()).Draw(t, "answers")
		h, good := health.Threshold{}, false
		for i, a := range answers {
			h.Add(a, rise, fall, t0)
			need := max(fall, 1)
			if a {
				need = max(rise, 1)
			}
			if a != good && i+1 >= need && alike(answers[i+1-need:i+1]) {
				good = a
			}
			if h.Good != good {
				t.Fatalf("after %v of %v: %+v, want %v", i+1, answers, h, good)
			}
		}
	})
}

func alike(answers []bool) bool {
	for _, a := range answers {
		if a != answers[0] {
			return false
		}
	}
	return true
}

func TestScheduleAsksInTime(t *testing.T) {
	p := backstay.Probe{Period: backstay.Duration(2 * time.Second), InitialDelay: backstay.Duration(5 * time.Second)}
	var s health.Schedule
	if s.Take(p, t0, true) || !s.Due().IsZero() {
		t.Error("the zero schedule asks")
	}
	s.Begin(p, t0)
	if s.Take(p, t0.Add(4999*time.Millisecond), true) {
		t.Error("asked before the initial delay is over")
	}
	at := t0.Add(5 * time.Second)
	if !s.Take(p, at, true) || s.Take(p, at, true) || !s.Due().IsZero() {
		t.Error("not asked once, and only once while no answer has come")
	}
	s.Answered()
	if want := at.Add(health.Eager); !s.Due().Equal(want) {
		t.Errorf("eager: due %v", s.Due().Sub(at))
	}
	if !s.Take(p, at.Add(health.Eager), false) {
		t.Error("not asked again")
	}
	s.Answered()
	if want := at.Add(health.Eager + 2*time.Second); !s.Due().Equal(want) {
		t.Errorf("due %v", s.Due().Sub(at))
	}
}

func TestRoundThatIsMoreThanAPeriodLateIsLeftOut(t *testing.T) {
	p := backstay.Probe{Period: backstay.Duration(2 * time.Second)}
	var s health.Schedule
	s.Begin(p, t0)
	if !s.Take(p, t0.Add(2*time.Second), false) {
		t.Error("one period late is asked")
	}
	s.Answered()
	if s.Take(p, t0.Add(time.Minute), false) {
		t.Error("a minute late is asked")
	}
	if want := t0.Add(62 * time.Second); !s.Due().Equal(want) || !s.Take(p, want, false) {
		t.Errorf("the next round is due %v", s.Due().Sub(t0))
	}
}

func TestEveryIsNeverAHotLoop(t *testing.T) {
	if got := health.Every(backstay.Probe{}, true); got < time.Millisecond {
		t.Errorf("every %v", got)
	}
	if got := health.Every(backstay.Probe{Period: backstay.Duration(100 * time.Millisecond)}, true); got != 100*time.Millisecond {
		t.Errorf("every %v", got)
	}
}

func TestAnswerOfAFrozenAskerIsStale(t *testing.T) {
	p := backstay.Probe{Period: backstay.Duration(2 * time.Second), Timeout: backstay.Duration(time.Second)}
	if health.Stale(p, t0, t0.Add(3*time.Second)) || !health.Stale(p, t0, t0.Add(3001*time.Millisecond)) {
		t.Error("stale is later than timeout and period together")
	}
}

func TestLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "",
		"\u0020a \n\tb\x00c\u2028d\u0020": "a b c d",
		"\x1b[31mred\u202ecod.ex":         "[31mred cod.ex",
		"\xff\xfea":                       "a",
		strings.Repeat("é", 300):          strings.Repeat("é", 100),
	} {
		if got := health.Line(text); got != want {
			t.Errorf("Line(%q) = %q, want %q", text, got, want)
		}
	}
}
