package api

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/backstay/backstay"
)

// Proof is why something is as it is: the fewest facts that decide it, and what
// would change it.
type Proof struct {
	Ref     string    `json:"ref"`   // service/shop, release/shop@14
	State   string    `json:"state"` // in a word or two: backoff, 2 of 3 ready, rolled_back
	What    string    `json:"what"`  // one sentence
	Since   time.Time `json:"since,omitzero"`
	Because []Fact    `json:"because,omitempty"` // the first decides, each further one explains the one before
	Do      []string  `json:"do,omitempty"`      // commands, or lines of the file, that would change it
}

// Fact is one thing that was observed or decided.
type Fact struct {
	Text  string    `json:"text"`
	At    time.Time `json:"at,omitzero"`
	By    string    `json:"by,omitempty"`    // who decided
	Where string    `json:"where,omitempty"` // file:line, or a log file
}

// Facts are all that a proof may draw on.
type Facts struct {
	Status   Status
	Events   []backstay.Event // newest first
	Releases []Release        // of the service it is about, if it is about one
}

// Why returns the shortest proof of the state of ref, which [Resolve] has made.
// It is a pure function: the moment of the status is now.
func Why(f Facts, ref backstay.Ref) (Proof, error) {
	p, ok := Proof{}, false
	name := ref.Name()
	switch ref.Kind() {
	case "service":
		p, ok = f.service(name)
	case "instance":
		p, ok = f.instance(name)
	case "frontend":
		p, ok = f.frontend(name)
	case "deploy":
		p, ok = f.deploy(name)
	case "release":
		p, ok = f.release(name)
	case "role":
		p, ok = f.role(name)
	case "config":
		p, ok = f.config(), true
	}
	if !ok {
		return p, missing(f.Status, string(ref))
	}
	p.Ref = string(ref)
	if len(p.Do) == 0 {
		p.Do = f.otherwise(ref)
	}
	f.addProblems(&p, ref)
	return p, nil
}

// addProblems adds that lines of what ref points at are being lost, or that a file
// it serves cannot be read any more, whatever else is so: it is no part of a
// state, and nobody else would tell of it.
func (f Facts) addProblems(p *Proof, ref backstay.Ref) {
	for _, problem := range f.Status.Problems {
		if f.losesLines(problem, ref) || f.servesOld(problem, ref) {
			p.Because = append(p.Because, Fact{Text: problem.What})
			p.Do = append([]string{problem.Do}, p.Do...)
		}
	}
}

func (f Facts) losesLines(problem backstay.Problem, ref backstay.Ref) bool {
	at := backstay.Ref(problem.Where)
	of, _, _ := f.Status.find(at.Name())
	return problem.Code == "disk" && (at == ref || at.Kind() == "instance" && ref == backstay.NewRef("service", of.Name))
}

// servesOld reports whether problem is of a file that the frontend ref serves as
// it was read before.
func (f Facts) servesOld(problem backstay.Problem, ref backstay.Ref) bool {
	return problem.Code == "file_unreadable" && slices.ContainsFunc(f.Status.Frontends, func(fe Frontend) bool {
		return ref == backstay.NewRef("frontend", fe.Name) && slices.Contains(fe.Files, problem.Where)
	})
}

// otherwise is what would change a state with which nothing is wrong.
func (f Facts) otherwise(ref backstay.Ref) []string {
	name := ref.Name()
	switch ref.Kind() {
	case "service":
		return []string{"backstay stop " + name, f.edit("services."+name, "change it and backstay apply, or take it out to end it")}
	case "instance":
		return []string{"backstay drain " + name, "backstay restart " + name}
	case "frontend":
		return []string{f.edit("frontends."+name, "change its addresses or routes and backstay apply, or take it out to close it")}
	case "role":
		for _, r := range f.Status.Roles {
			if r.Name == name && r.Running {
				return []string{fmt.Sprintf("kill -9 %d  # another one is started and takes over", r.PID)}
			}
		}
		return []string{"backstay events --tail 20"}
	case "config":
		return []string{"backstay plan " + f.Status.Config.File, "backstay apply " + f.Status.Config.File}
	case "release":
		name, _ = releaseOf(ref)
	}
	return []string{f.edit("services."+name+".version", "another release")}
}

// String returns p for people.
func (p Proof) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s\n", p.Ref, p.What)
	if !p.Since.IsZero() {
		fmt.Fprintf(&b, "  since    %s\n", clock(p.Since))
	}
	rows(&b, "because", factLines(p.Because))
	rows(&b, "change", p.Do)
	return b.String()
}

// rows writes lines under one head.
func rows(b *strings.Builder, head string, lines []string) {
	for _, l := range lines {
		fmt.Fprintf(b, "  %-8s %s\n", head, l)
		head = ""
	}
}

func factLines(facts []Fact) []string {
	var lines []string
	for _, f := range facts {
		l := f.Text
		if f.By != "" {
			l += ", by " + f.By
		}
		if !f.At.IsZero() {
			l += ", at " + clock(f.At)
		}
		if f.Where != "" {
			l += " (" + f.Where + ")"
		}
		lines = append(lines, l)
	}
	return lines
}

// clock is how times are shown to people: the day too, since an answer is read
// on another one.
func clock(t time.Time) string { return t.Format("2006-01-02 15:04:05") }

// ago returns how long before now t was: "3s ago".
func (f Facts) ago(t time.Time) string { return Age(f.Status.At.Sub(t)) + " ago" }

// until returns how long after now t is: "in 3s".
func (f Facts) until(t time.Time) string {
	if d := t.Sub(f.Status.At); d > 0 {
		return "in " + Age(d)
	}
	return "now"
}

// Age returns d as people say it, in at most two units.
func Age(d time.Duration) string {
	switch d = max(d, 0); {
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < time.Minute:
		return d.Round(time.Second).String()
	case d < time.Hour:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 24*time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	default:
		return fmt.Sprintf("%dd%dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
	}
}

// line returns where key, or the nearest key above it, stands in the file:
// "backstay.yaml:14". It is empty if that is not known.
func (f Facts) line(key string) string {
	for key != "" {
		if n, ok := f.Status.Lines[key]; ok {
			return fmt.Sprintf("%s:%d", f.Status.Config.File, n)
		}
		key = key[:max(strings.LastIndexByte(key, '.'), 0)]
	}
	return ""
}

// edit returns the advice to change key in the file.
func (f Facts) edit(key, how string) string {
	where := f.line(key)
	if where == "" {
		where = key
	} else {
		where += " " + key
	}
	return where + ": " + how
}

// told returns the newest event of kind about name, in which to is the new state
// if to is not empty.
func (f Facts) told(kind backstay.Kind, name, to string) (backstay.Event, bool) {
	for _, e := range f.Events {
		if e.Kind == kind && strings.HasSuffix(string(e.Ref), "/"+name) && (to == "" || e.To == to) {
			return e, true
		}
	}
	return backstay.Event{}, false
}
