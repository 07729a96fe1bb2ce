package demo

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// Act is what one act cost.
type Act struct {
	Number   int           `json:"number"`
	Title    string        `json:"title"`
	Sent     int           `json:"sent"`
	Failed   int           `json:"failed"`
	Promised int           `json:"promised"` // failed at most
	Gap      time.Duration `json:"gap_ns"`
	Slowest  time.Duration `json:"slowest_ns"`
	P50      time.Duration `json:"p50_ns"`
	P99      time.Duration `json:"p99_ns"`
	Healed   time.Duration `json:"healed_ns"`
	Detail   []string      `json:"detail,omitempty"`
	Broken   []string      `json:"broken,omitempty"`
	Unjudged bool          `json:"unjudged,omitempty"`
}

func (a *Act) fill(t Tally) {
	a.Sent, a.Failed, a.Gap, a.Slowest = a.Sent+t.Sent, a.Failed+t.Failed, max(a.Gap, t.Gap), max(a.Slowest, t.Slowest)
}

// counts is the act while it is played.
func (a Act) counts() string {
	failed := "failed " + thousands(a.Failed)
	if a.Number == 0 {
		failed = "FAILED " + thousands(a.Failed)
	}
	return fmt.Sprintf("%2d %-44s sent %7s  %-11s", a.Number, a.Title, thousands(a.Sent), failed)
}

// line is the act as it is shown.
func (a Act) line() string {
	s := a.counts()
	if a.Number > 0 {
		s += fmt.Sprintf("  gap %6s  slowest %6s", ms(a.Gap), ms(a.Slowest))
	}
	if a.Healed > 0 {
		s += "  whole in " + ms(a.Healed)
	}
	return s
}

// ms shows a time with three digits or fewer.
func ms(d time.Duration) string {
	switch {
	case d >= 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d >= time.Second:
		return fmt.Sprintf("%.2fs", d.Seconds())
	case d >= 10*time.Millisecond:
		return fmt.Sprintf("%dms", d.Milliseconds())
	default:
		return fmt.Sprintf("%.1fms", float64(d.Microseconds())/1000)
	}
}

// thousands shows a number with spaces between groups of three.
func thousands(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

// Report is the whole demonstration.
type Report struct {
	Kernel    string        `json:"kernel"`
	Machine   string        `json:"machine"`
	Cores     int           `json:"cores"`
	Rights    string        `json:"rights"`
	At        time.Time     `json:"at"`
	Took      time.Duration `json:"took_ns"`
	UpToFirst time.Duration `json:"up_to_first_answer_ns"`
	P50       time.Duration `json:"p50_ns"`
	P99       time.Duration `json:"p99_ns"`
	Acts      []Act         `json:"acts"`
	Kept      int           `json:"promises_kept"`
	Promises  int           `json:"promises"`
}

func (d *director) report() Report {
	r := Report{
		Kernel: kernel(), Machine: machine(), Cores: runtime.NumCPU(), Rights: rights(), At: d.began, Took: time.Since(d.began),
		UpToFirst: d.first, Acts: d.acts,
	}
	for _, a := range d.acts {
		if a.Unjudged {
			continue
		}
		r.Promises++
		if len(a.Broken) == 0 {
			r.Kept++
		}
	}
	r.P50, r.P99 = medians(judged(d.acts))
	return r
}

// judged are the acts that promise something, without the control run.
func judged(all []Act) (some []Act) {
	for _, a := range all {
		if a.Number > 0 && !a.Unjudged {
			some = append(some, a)
		}
	}
	return some
}

// medians are of each act's own: an act with a freeze in it says nothing about a
// normal day.
func medians(all []Act) (p50, p99 time.Duration) {
	var a, b []time.Duration
	for _, act := range all {
		a, b = append(a, act.P50), append(b, act.P99)
	}
	return middle(a), middle(b)
}

// table is every act on a line of its own, under one head.
func table(all []Act) string {
	var b strings.Builder
	row := func(cells ...any) { fmt.Fprintf(&b, "%2v  %-44v %8v %7v %9v %7v %8v %7v %7v %9v\n", cells...) }
	row("#", "act", "sent", "failed", "promised", "gap", "slowest", "p50", "p99", "whole in")
	for _, a := range all {
		promised := thousands(a.Promised)
		if a.Number == 0 || a.Unjudged {
			promised = "-"
		}
		healed := "-"
		if a.Healed > 0 {
			healed = ms(a.Healed)
		}
		row(a.Number, a.Title, thousands(a.Sent), thousands(a.Failed), promised, ms(a.Gap), ms(a.Slowest), ms(a.P50), ms(a.P99), healed)
	}
	return b.String()
}

// epilogue shows the table, writes the report and says whether all was kept.
func (d *director) epilogue() error {
	r := d.report()
	sent, failed, all := 0, 0, judged(d.acts)
	for _, a := range all {
		sent, failed = sent+a.Sent, failed+a.Failed
	}
	d.say("\n%s", table(d.acts))
	d.say("acts 1-%d: %s requests, %s failed, p50 %s p99 %s; first answer %s after `backstay up`",
		len(all), thousands(sent), thousands(failed), ms(r.P50), ms(r.P99), ms(r.UpToFirst))
	d.say("on linux %s, %s, %s", r.Kernel, r.Machine, r.Rights)
	where := ""
	if d.Report != "" {
		text, err := json.MarshalIndent(r, "", "  ")
		if err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		if err := os.WriteFile(d.Report, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("write report: %w", err)
		}
		where = " · " + d.Report
	}
	d.say("%d of %d promises kept in %s%s", r.Kept, r.Promises, ms(r.Took), where)
	if r.Kept < r.Promises {
		return fmt.Errorf("%w: %d of %d kept", ErrBroken, r.Kept, r.Promises)
	}
	return nil
}
