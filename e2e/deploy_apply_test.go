package e2e

import (
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/api"
)

// What apply says at its end is what has become of what this file asks for, and
// not of what was under way when it came.
func TestApplyWaitsForItsOwnDeploy(t *testing.T) {
	o := startOdd(t)
	for _, c := range []struct {
		name string
		run  func(*oddNode)
	}{
		{"its own deploy is rolled back", (*oddNode).ownRolledBack},
		{"its own deploy is refused when its turn comes", (*oddNode).ownRefused},
		{"its own deploy is good", (*oddNode).ownGood},
		{"another file takes its place", (*oddNode).ownSuperseded},
		{"it finds a rollback", (*oddNode).findsRollback},
	} {
		t.Run(c.name, func(t *testing.T) {
			o.on(t)
			c.run(o)
		})
		if t.Failed() {
			t.Fatal("the next case needs a node that is as it was")
		}
	}
}

// ended is how a command ended.
type ended struct {
	text   string
	status int
}

// applies applies the file with version beside the test, and returns once the
// agent wants it.
func (o *oddNode) applies(version string) <-chan ended {
	o.t.Helper()
	o.fileSays(version)
	file, gen := o.file, o.status().Generation
	done := make(chan ended, 1)
	go func() {
		out, errs, status := o.cli("apply", file)
		done <- ended{out + errs, status}
	}()
	o.until(version+" is wanted", func(s api.Status) string {
		if s.Generation == gen {
			return "the file before it is in force"
		}
		return ""
	})
	return done
}

func (o *oddNode) fileSays(version string) {
	o.write(strings.Replace(o.text(), "version: v1\n", "version: "+version+"\n", 1))
}

// midRoll has a good version roll, slowly enough that something else comes in
// between.
func (o *oddNode) midRoll() (version string) {
	o.t.Helper()
	version = o.install("--ready-after 1s")
	o.fileSays(version)
	o.must("apply", o.file, "--detach")
	o.reaches(api.DeployRolling)
	return version
}

func (o *oddNode) says(got ended, status backstay.ExitCode, says string) {
	o.t.Helper()
	if got.status != int(status) || !strings.Contains(got.text, says) {
		o.t.Fatalf("apply ended with %d, want %d and %q\n%s", got.status, status, says, got.text)
	}
}

func (o *oddNode) ownRolledBack() {
	before := o.midRoll()
	bad := o.install("--die-after 100ms")
	got := <-o.applies(bad)
	o.says(got, backstay.ExitRolledBack, "rolled back")
	if !strings.Contains(got.text, "is under way; what is decided next is") {
		o.t.Errorf("it is not said what is waited for: %s", got.text)
	}
	o.at(before)
}

func (o *oddNode) ownRefused() {
	before := o.midRoll()
	gone := o.install("")
	apply := o.applies(gone)
	if err := os.Remove(o.program(gone)); err != nil {
		o.t.Fatal(err)
	}
	o.says(<-apply, backstay.ExitDegraded, "was refused")
	o.at(before)
}

func (o *oddNode) ownGood() {
	o.midRoll()
	good := o.install("")
	o.says(<-o.applies(good), backstay.ExitOK, ": done in")
	if now := o.now(); now != good {
		o.t.Errorf("apply has ended, and %s runs", now)
	}
	o.at(good)
}

func (o *oddNode) ownSuperseded() {
	o.midRoll()
	first := o.applies(o.install(""))
	last := o.install("")
	second := o.applies(last)
	o.says(<-first, backstay.ExitDegraded, "is superseded")
	o.says(<-second, backstay.ExitOK, ": done in")
	o.at(last)
}

func (o *oddNode) findsRollback() {
	o.midRoll()
	last := o.now()
	o.ends(backstay.ExitOK, "rollback", "odd") // what was asked for was done
	got := o.ends(backstay.ExitDegraded, "apply", o.file)
	if !strings.Contains(got, "not tried again by itself") {
		o.t.Errorf("nothing is said of what is not in force: %s", got)
	}
	if h := o.must("history", "odd"); !strings.Contains(h, "asked for by") {
		o.t.Errorf("the history does not say that it was asked for: %s", h)
	}
	o.at(last)
}
