package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
)

func TestFileTellsWhatItIs(t *testing.T) {
	f := load(t, "testdata/full.good.yaml")
	if want := read(t, "testdata/full.good.yaml"); string(f.Text()) != string(want) || f.Name() != "full.good.yaml" {
		t.Errorf("%s is %d bytes, want %d", f.Name(), len(f.Text()), len(want))
	}
	f.Text()[0] = '!'
	if f.Text()[0] == '!' {
		t.Error("the text can be written to")
	}
	if d := f.Digest(); len(d) != 8 || d == load(t, "testdata/smallest.good.yaml").Digest() {
		t.Errorf("digest %q", d)
	}
	if got := f.ServiceNames(); !slices.Equal(got, []string{"cache", "migrate", "shop"}) {
		t.Errorf("services %q", got)
	}
	if got := f.FrontendNames(); !slices.Equal(got, []string{"plain", "web"}) {
		t.Errorf("frontends %q", got)
	}
	if got := f.Binds(); !slices.Equal(got, []string{"10.0.0.7:443", ":80", "[::1]:443", "unix:/run/shop.sock"}) {
		t.Errorf("binds %q", got)
	}
	if b := f.ParsedBinds(); len(b) != 4 || b[":80"].Port != 80 || b["unix:/run/shop.sock"].Unix != "/run/shop.sock" {
		t.Errorf("binds %v", b)
	}
	if got := f.RoutesTo("shop"); !slices.Equal(got, []string{"web"}) || f.RoutesTo("cache") != nil {
		t.Errorf("shop is led to by %q", got)
	}
	if !f.FixedPorts("cache") || f.FixedPorts("shop") || f.FixedPorts("nothing") {
		t.Error("fixed ports")
	}
	if got := f.SecretsOf("shop"); !slices.Equal(got, []string{"db-url"}) || f.SecretsOf("cache") != nil {
		t.Errorf("secrets %q", got)
	}
}

func TestPortOf(t *testing.T) {
	f := load(t, "testdata/full.good.yaml")
	for _, c := range []struct {
		service string
		ref     backstay.PortRef
		want    string
		ok      bool
	}{
		{"shop", "", "http", true},
		{"shop", "admin", "admin", true},
		{"shop", "web", "web", false},
		{"shop", "8080", "", false},
		{"cache", "", "redis", true},
		{"cache", "6379", "redis", true},
		{"cache", "http", "http", false},
		{"migrate", "", "http", false},
		{"nothing", "", "http", false},
	} {
		if name, ok := f.PortOf(c.service, c.ref); ok != c.ok || ok && name != c.want {
			t.Errorf("%s %q is %q, %v", c.service, c.ref, name, ok)
		}
	}
}

func TestWhereAKeyStands(t *testing.T) {
	f := load(t, "testdata/single-host.good.yaml")
	for key, want := range map[string]string{
		"services.shop.replicas":     "single-host.good.yaml:12:5",
		"services.shop.stop.grace":   "single-host.good.yaml:5:3", // not written: the service
		"frontends.web.routes[0].to": "single-host.good.yaml:21:16",
		"services.nothing":           "single-host.good.yaml:4:1",
		"":                           "single-host.good.yaml",
	} {
		if got := f.Where(key); got != want {
			t.Errorf("%q stands at %s, want %s", key, got, want)
		}
	}
	if got := f.WhereIs("frontend/web"); got != "single-host.good.yaml:18:3" {
		t.Errorf("frontend/web stands at %s", got)
	}
}

// TestLoadFromDisk, which this host has to agree with: no user but oneself.
func TestLoadFromDisk(t *testing.T) {
	dir := t.TempDir()
	program := filepath.Join(dir, "shop")
	write(t, program, "#!/bin/sh\n", 0o755)
	user := ""
	if os.Getuid() == 0 {
		user = ", user: root"
	}
	good := "schema: 1\nservices: { shop: { run: { exec: [" + program + "]" + user + " } } }\n"
	name := filepath.Join(dir, "backstay.yaml")
	write(t, name, good, 0o600)
	f, err := config.Load(name)
	if err != nil || f.Services["shop"].Run.Exec[0] != program {
		t.Fatalf("%v, %v", f, err)
	}
	write(t, name, strings.Replace(good, "shop]", "shopp]", 1), 0o600)
	if _, err := config.Load(name); err == nil || !strings.Contains(err.Error(), "there is no "+program+"p") {
		t.Errorf("err = %v", err)
	}
	if _, err := config.Load(name + "x"); err == nil || !strings.HasPrefix(err.Error(), "read config: ") {
		t.Errorf("err = %v", err)
	}
	write(t, name, strings.Repeat("#", 1<<20+1), 0o600)
	if _, err := config.Load(name); err == nil || !strings.Contains(err.Error(), "larger than 1MiB") {
		t.Errorf("err = %v", err)
	}
	write(t, filepath.Join(dir, "user.yaml"), strings.Replace(good, user+" }", ", user: backstay-test-nobody }", 1), 0o600)
	if _, err := config.Load(filepath.Join(dir, "user.yaml")); err == nil || !strings.Contains(err.Error(), "no user backstay-test-nobody") {
		t.Errorf("err = %v", err)
	}
}

func write(t *testing.T, name, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}

// TestEveryFieldIsInTheLanguage, with a change tag that diff understands, and
// nothing in the list of keys is written twice.
func TestEveryFieldIsInTheLanguage(t *testing.T) {
	lines := map[string]bool{}
	for line := range strings.Lines(config.LanguageText) {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		if lines[key] {
			t.Errorf("%s is in language.txt twice", key)
		}
		lines[key] = true
	}
	var walk func(key string, v reflect.Type)
	walk = func(key string, v reflect.Type) {
		switch v.Kind() { //nolint:exhaustive // the others hold no keys
		case reflect.Pointer:
			walk(key, v.Elem())
		case reflect.Map:
			walk(key+".*", v.Elem())
		case reflect.Slice:
			walk(key+"[]", v.Elem())
		case reflect.Struct:
			for _, f := range reflect.VisibleFields(v) {
				name := f.Tag.Get("yaml")
				if name == "" {
					continue
				}
				at := strings.TrimPrefix(key+"."+name, ".")
				if !lines[at] {
					t.Errorf("%s is not in language.txt", at)
				}
				if c := f.Tag.Get("change"); c != config.Live && c != config.Roll {
					t.Errorf("%s changes %q", at, c)
				}
				walk(at, f.Type)
			}
		}
	}
	walk("", reflect.TypeFor[config.File]())
}
