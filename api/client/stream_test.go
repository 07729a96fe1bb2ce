package client_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/api/apitest"
)

// A deploy is watched over as many ends of the agent as there are, each line seen
// once.
func TestWatchGoesOn(t *testing.T) {
	b := apitest.New()
	var want []int
	for n := 1; n <= 6; n++ {
		b.Steps = append(b.Steps, api.Progress{N: n, Text: fmt.Sprint(n), Final: n == 6})
		want = append(want, n)
	}
	b.Broken = 4
	var got []int
	err := to(apitest.Serve(t, b, ann)).Watch(t.Context(), "shop", "shop-d2", func(p api.Progress) error {
		got = append(got, p.N)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// Down is asked for again until it has come to its end.
func TestDownGoesOn(t *testing.T) {
	b := apitest.New()
	b.Steps = []api.Progress{{N: 1, Text: "shop stopped"}, {N: 2, Text: "all stopped", Final: true}}
	b.Broken = 1
	last := api.Progress{}
	err := to(apitest.Serve(t, b, ann)).Down(t.Context(), func(p api.Progress) error { last = p; return nil })
	if err != nil || !last.Final || len(b.Asked()) != 2 {
		t.Errorf("%+v, %v, %q", last, err, b.Asked())
	}
}

// Events go on after the last one that was seen.
func TestEventsGoOn(t *testing.T) {
	b := apitest.New()
	var want []string
	for n := 1; n <= 5; n++ {
		id := fmt.Sprintf("n1/1/%d", n)
		b.Past, want = append(b.Past, backstay.Event{ID: id, Kind: backstay.Adopted, At: apitest.Now}), append(want, id)
	}
	b.Broken = 3
	var got []string
	err := to(apitest.Serve(t, b, ann)).Events(t.Context(), api.EventQuery{}, func(e backstay.Event) error {
		got = append(got, e.ID)
		return nil
	})
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("%v, %v", got, err)
	}
}

// A log goes on where it broke: no line is lost and none is shown twice, though
// lines of one write have the same time and may be the same.
func TestLogsGoOn(t *testing.T) {
	b := apitest.New()
	var want []string
	for n := range 12 {
		l := api.LogLine{
			At: apitest.Now.Add(time.Duration(n/4) * time.Second), Service: "shop", Instance: []string{"shop-11aa11", "shop-22bb22"}[n%2],
			Text: fmt.Sprint("line ", n/4*4), // two of each instance are the same
		}
		b.Lines, want = append(b.Lines, l), append(want, l.Instance+l.Text)
	}
	for broken := range 11 {
		b.Broken = broken
		var got []string
		err := to(apitest.Serve(t, b, ann)).Logs(t.Context(), api.LogQuery{Ref: "service/shop"}, func(l api.LogLine) error {
			got = append(got, l.Instance+l.Text)
			return nil
		})
		slices.Sort(got)
		if err != nil || !slices.Equal(got, slices.Sorted(slices.Values(want))) {
			t.Errorf("broken %d times: %d lines %v, %v", broken, len(got), got, err)
		}
	}
}

// A stream that is refused, or whose reader has had enough, does not go on.
func TestStreamsEnd(t *testing.T) {
	b := apitest.New()
	b.Past = []backstay.Event{{ID: "n1/1/1"}, {ID: "n1/1/2"}}
	c := to(apitest.Serve(t, b, ann))
	if err := c.Watch(t.Context(), "nope", "", func(api.Progress) error { return nil }); code(err) != "not_found" {
		t.Error(err)
	}
	enough := errors.New("enough")
	if err := c.Events(t.Context(), api.EventQuery{}, func(backstay.Event) error { return enough }); !errors.Is(err, enough) {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	if err := c.Events(ctx, api.EventQuery{Follow: true}, func(backstay.Event) error { cancel(); return ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
