package cli

import (
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// goodValues are a value for every flag that takes one, as its page shows it.
var goodValues = map[string][]string{
	"output": {"json"}, "run-dir": {"/run/b"}, "state-dir": {"/var/b"}, "log-dir": {"/log/b"},
	"config": {"/etc/b.yaml"}, "metrics": {"127.0.0.1:9090"}, "if-match": {"3f9a1c22"}, "report": {"r.json"}, "version": {"v2"},
	"wait": {"15m", "1d", "0s"}, "tail": {"0", "100"}, "since": {"10m", "2h30m", "7d", "0s", "2026-01-02T15:04:05Z"}, "to": {"13"},
}

// Every command takes each of its flags with a value that will do, and none
// without one.
func TestEveryFlagTakesWhatItShows(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range fresh(t, "").Commands() {
		_ = c.ParseFlags(nil) // brings in those of every command
		c.Flags().VisitAll(func(f *pflag.Flag) {
			if seen[f.Name] = true; !c.Hidden {
				tryValues(t, c.Name(), f)
			}
		})
	}
	for name := range goodValues {
		if !seen[name] {
			t.Errorf("no command has --%s", name)
		}
	}
}

// tryValues gives the flag f of a command every value, each in a command line of its own.
func tryValues(t *testing.T, command string, f *pflag.Flag) {
	t.Helper()
	values := goodValues[f.Name]
	switch {
	case f.Value.Type() == "bool":
		values = []string{"true"}
	case values == nil:
		t.Errorf("%s --%s: what value will do? add it to goodValues", command, f.Name)
	case f.Value.Type() != "int": // pflag itself refuses a number that is none
		values = append([]string{""}, values...)
	}
	for _, value := range values {
		c := fresh(t, command)
		err := c.ParseFlags([]string{"--" + f.Name + "=" + value})
		if err == nil {
			err = empty(c)
		}
		if (err != nil) != (value == "") {
			t.Errorf("%s --%s=%s: %v", command, f.Name, value, err)
		}
	}
}

// fresh returns a command whose flags nobody has set yet; without a name, the root.
func fresh(t *testing.T, name string) *cobra.Command {
	t.Helper()
	root := (&app{Surroundings: &Surroundings{}}).root()
	if name == "" {
		return root
	}
	c, _, err := root.Find([]string{name})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestSinceIsAMomentOrHowLongAgo(t *testing.T) {
	now := time.Date(2026, 1, 2, 15, 4, 5, 0, time.UTC)
	for want, given := range map[time.Time][]string{
		{}:                           nil,
		now:                          {"0s"},
		now.Add(-10 * time.Minute):   {"10m"},
		now.Add(-7 * 24 * time.Hour): {"2026-01-01T00:00:00Z", "7d"},
		now.Add(-time.Hour):          {"5m", "2026-01-02T14:04:05Z"},
	} {
		var q window
		c := &cobra.Command{}
		q.flags(c, 1, "lines")
		for _, v := range given {
			if err := c.Flags().Set("since", v); err != nil {
				t.Fatal(err)
			}
		}
		if got := q.since.moment(now); !got.Equal(want) {
			t.Errorf("%q: %v, want %v", given, got, want)
		}
	}
}
