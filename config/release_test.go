package config_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/golden"
)

// TestReleaseIsTheDefinition compares with release.txt: the version is in it,
// and what belongs to an instance is still as the file writes it.
func TestReleaseIsTheDefinition(t *testing.T) {
	var all []string
	for _, name := range []string{"full", "dollars", "smallest"} {
		f := load(t, "testdata/"+name+".good.yaml")
		for _, service := range f.ServiceNames() {
			r, err := config.ReleaseOf(f, service, "")
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(r, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, string(text))
		}
	}
	golden.Check(t, "testdata/release.txt", strings.Join(all, "\n")+"\n")
}

func TestVersionOverTheFile(t *testing.T) {
	f := load(t, "testdata/full.good.yaml")
	r, err := config.ReleaseOf(f, "shop", "v2")
	if err != nil || r.Version != "v2" || r.Exec.Argv[0] != "/srv/shop/v2/bin/shop" {
		t.Errorf("%q runs %q, %v", r.Version, r.Exec.Argv[0], err)
	}
	if r.Exec.Argv[2] != "127.0.0.1:${port.http}" {
		t.Errorf("argument 2 is %q: an instance's port is not known yet", r.Exec.Argv[2])
	}
	if _, err := config.ReleaseOf(f, "shopp", ""); err == nil {
		t.Error("a service that is not there has a release")
	}
}

// TestReleaseDoesNotShareItsFile: whoever changes a release leaves the file alone.
func TestReleaseDoesNotShareItsFile(t *testing.T) {
	f := load(t, "testdata/full.good.yaml")
	before := config.Dump(f)
	r, err := config.ReleaseOf(f, "shop", "")
	if err != nil {
		t.Fatal(err)
	}
	r.Exec.Argv[0], r.Exec.Groups[0], r.Exec.Env["NODE"], r.Exec.EnvFile[0] = "x", "x", "x", "x"
	delete(r.Exec.Rlimits, "core")
	delete(r.Ports, "http")
	if after := config.Dump(f); after != before {
		t.Errorf("the file is now\n%s", after)
	}
}

var errNoSecret = errors.New("vault is sealed")

func TestExpand(t *testing.T) {
	look := func(kind, name string) (string, error) {
		if kind == "secret" {
			return "", errNoSecret
		}
		return "<" + kind + " " + name + "${port.x}>", nil
	}
	for in, want := range map[string]string{
		"":                            "",
		"plain $HOME $$ $":            "plain $HOME $$ $",
		"${port.http}":                "<port http${port.x}>", // what was put in is not expanded again
		"a${version}b${node.name}":    "a<version ${port.x}>b<node name${port.x}>",
		"$${HOME}":                    "${HOME}",
		"$$${port.a}":                 "$${port.a}",
		"$${a} ${port.b} $${c}":       "${a} <port b${port.x}> ${c}",
		"${port.http-2}${port.with.}": "<port http-2${port.x}><port with.${port.x}>",
	} {
		if got, err := config.Expand(in, look); got != want || err != nil {
			t.Errorf("%q is %q, %v, want %q", in, got, err, want)
		}
	}
	for _, in := range []string{"${", "${}", "${port.http", "${.x}", "${port http}", "x${PORT:-80}", "${port.}"} {
		if got, err := config.Expand(in, look); err == nil || got != "" {
			t.Errorf("%q is %q", in, got)
		}
	}
	if _, err := config.Expand("a${secret.db}", look); !errors.Is(err, errNoSecret) || strings.Contains(err.Error(), "<") {
		t.Errorf("err = %v", err)
	}
}

func TestEnvFile(t *testing.T) {
	vars, err := config.ParseEnvFile([]byte("# of shop\n\nA=1\nexport B = no\n"))
	if err == nil {
		t.Errorf("a space before = is read: %v", vars)
	}
	vars, err = config.ParseEnvFile([]byte("# of shop\n\nA=1\r\nexport B=\"two words\"\n  C='$x'\nD=\nE=\"\nA=2\nF=a=b # c\n"))
	want := map[string]string{"A": "2", "B": "two words", "C": "$x", "D": "", "E": "\"", "F": "a=b # c"}
	if err != nil || len(vars) != len(want) {
		t.Fatalf("%v, %v", vars, err)
	}
	for name, value := range want {
		if vars[name] != value {
			t.Errorf("%s is %q, want %q", name, vars[name], value)
		}
	}
	if _, err := config.ParseEnvFile([]byte("PASSWORD hush\n")); err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("err = %v; it may not show the line", err)
	}
}
