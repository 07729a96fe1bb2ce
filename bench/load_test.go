package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var origin = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func at(n int) time.Time { return origin.Add(time.Duration(n) * time.Millisecond) }

// What is under way when something happens ends in the window of what happened.
func TestRequestsBelongToTheWindowTheyEndIn(t *testing.T) {
	samples := []sample{
		{began: at(0), ended: at(50), who: "v1"},
		{began: at(40), ended: at(90), who: "v1"},
		{began: at(90), ended: at(110), lost: "reset"},
		{began: at(95), ended: at(100), lost: "502"},
		{began: at(150), ended: at(200), who: "v1"},
	}
	quiet, during := windowOf(samples, at(0), at(100)), windowOf(samples, at(100), at(200))
	if quiet.sent != 2 || quiet.lost != 0 || quiet.p50 != 50*time.Millisecond || quiet.rate != 20 {
		t.Errorf("quiet: %+v", quiet)
	}
	if during.sent != 2 || during.lost != 2 || during.first != "reset" {
		t.Errorf("during: %+v", during)
	}
}

func TestQuantiles(t *testing.T) {
	var d []time.Duration
	for i := range 200 {
		d = append(d, time.Duration(200-i))
	}
	for q, want := range map[float64]time.Duration{0: 1, 0.5: 101, 0.99: 199, 1: 200} {
		if got := quantile(d, q); got != want {
			t.Errorf("quantile %v is %d, want %d", q, got, want)
		}
	}
	if quantile(nil, 0.5) != 0 || median(nil) != 0 {
		t.Error("nothing has a middle")
	}
}

// The last answer counts to its end, the first by when it was asked for, but
// not what was over before anything happened.
func TestJudgeFindsTheMoments(t *testing.T) {
	l := &load{stop: func() {}, samples: []sample{
		{began: at(0), ended: at(5), who: "new"},
		{began: at(10), ended: at(30), who: "old"},
		{began: at(18), ended: at(28), who: "new"},
		{began: at(22), ended: at(24), who: "new"},
		{began: at(5), ended: at(20), who: "old"},
		{began: at(5), ended: at(20), lost: "reset"},
	}}
	s, err := spans{begin: at(15), end: at(25)}.judge(t.Context(), l, "old", "new")
	if err != nil {
		t.Fatal(err)
	}
	if s.fromBegin() != 15*time.Millisecond || s.fromEnd() != 5*time.Millisecond || s.fromNew() != 12*time.Millisecond || s.sent != 6 || s.lost != 1 {
		t.Errorf("%v after the begin, %v after the end, %v after the first new; %d sent, %d lost", s.fromBegin(), s.fromEnd(), s.fromNew(), s.sent, s.lost)
	}
	if _, err := (spans{begin: at(15)}).judge(t.Context(), l, "nobody", "new"); err == nil {
		t.Error("the last answer of what never answered was found")
	}
}

// The client reports what a server does to it and never asks twice.
func TestLoadCountsWhatIsLost(t *testing.T) {
	var asked atomic.Int64
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch asked.Add(1) % 10 {
		case 3:
			w.WriteHeader(http.StatusBadGateway)
		case 6:
			panic(http.ErrAbortHandler)
		default:
			appAnswer(w, r, "v1", 0)
		}
	}))
	defer s.Close()
	l := startLoad(t.Context(), strings.TrimPrefix(s.URL, "http://"), http.MethodPost, 2)
	err := await(t.Context(), time.Minute, time.Millisecond, func() string {
		if asked.Load() < 100 {
			return "too few"
		}
		return ""
	})
	all := l.end()
	if err != nil || len(all) != int(asked.Load()) {
		t.Fatalf("%d samples of %d requests, %v", len(all), asked.Load(), err)
	}
	lost := 0
	for _, x := range all {
		if (x.lost == "") != (x.who == "v1" && x.pid != "") {
			t.Errorf("neither good nor lost: %+v", x)
		}
		if x.lost != "" {
			lost++
		}
	}
	if least, most := len(all)/10*2, len(all)/10*2+2; lost < least || lost > most {
		t.Errorf("%d of %d are lost, want %d to %d", lost, len(all), least, most)
	}
}

func TestAwaitSaysWhatIsMissing(t *testing.T) {
	err := await(t.Context(), 0, time.Millisecond, func() string { return "the third" })
	if err == nil || !strings.Contains(err.Error(), "the third") {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := await(ctx, time.Hour, time.Hour, func() string { return "x" }); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

func TestPortsAreFreeAndOutOfTheWay(t *testing.T) {
	ports, err := freePorts(8)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, p := range ports {
		if p < firstPort || p > lastPort || seen[p] {
			t.Errorf("ports %v", ports)
		}
		seen[p] = true
	}
}
