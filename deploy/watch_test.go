package deploy

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/backstay/backstay"
)

func TestWatchTellsEveryLineOnceAndEnds(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		lines, err := h.Watch(h.t.Context(), "shop", "", 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []Progress
		for p := range lines {
			got = append(got, p)
			time.Sleep(700 * time.Millisecond) // a slow reader misses nothing
		}
		d, _ := h.Status("shop")
		if len(got) != len(d.Lines) || !got[len(got)-1].Final || got[len(got)-1].Deploy.New.Sent < 1000 {
			t.Fatalf("%d lines of %d, the last %+v", len(got), len(d.Lines), got[len(got)-1])
		}
		for i, p := range got {
			if p.N != i+1 || p.Text != d.Lines[i].Text || p.Final != (i == len(got)-1) {
				t.Errorf("line %d is %+v", i, p)
			}
		}
		lines, _ = h.Watch(h.t.Context(), "shop", d.ID, len(got)-1) // after a break of the line
		if p := <-lines; p.N != len(got) || !p.Final {
			t.Errorf("%+v", p)
		}
		_, err = h.Watch(h.t.Context(), "cart", "", 0)
		if p := new(backstay.Problem); !errors.As(err, &p) || p.Code != "not_found" {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(h.t.Context())
		lines, _ = h.Watch(ctx, "shop", "", 0)
		cancel()
		for range lines {
		}
	})
}

func TestEventsAreToldOnce(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, fine, nil)
		h.apply()
		h.until(Done)
		time.Sleep(time.Minute)
		n := map[string]int{}
		for _, e := range h.said.all() {
			n[e]++
		}
		want := map[string]int{
			"deploy_changed service/shop >rolling": 2, "deploy_changed service/shop rolling>done": 1,
			"deploy_changed service/shop rolling>finishing": 1, "deploy_changed service/shop finishing>done": 1,
			"deploy_step service/shop >": 9,
		}
		for e, k := range want {
			if n[e] != k {
				t.Errorf("%s told %d times, want %d", e, n[e], k)
			}
		}
		if len(n) != len(want) {
			t.Errorf("%v", n)
		}
	})
}

// Who reads the events of a deploy from above has read what led to its end
// before the end.
func TestTheEndIsToldLast(t *testing.T) {
	inHouse(t, func(h *house) {
		h.runs("v1", fine)
		h.wantRelease("v2", 2, diesYoung, nil)
		h.apply()
		h.until(RolledBack)
		ended := ""
		for _, e := range h.said.all() {
			switch {
			case strings.HasSuffix(e, ">done"), strings.HasSuffix(e, ">rolled_back"):
				ended = e
			case strings.HasPrefix(e, "deploy_changed"):
				ended = ""
			case ended != "":
				t.Errorf("%s follows %s", e, ended)
			}
		}
		if ended == "" {
			t.Error("no end is told")
		}
	})
}
