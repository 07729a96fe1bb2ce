package config_test

import (
	"cmp"
	"encoding"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/internal/golden"
)

const reference = "../docs/reference/file.md"

// TestReferencePageIsUpToDate writes every key from the Go types and compares it
// with the page; go generate ./config writes the page anew.
func TestReferencePageIsUpToDate(t *testing.T) {
	w := page{meaning: map[string]string{}}
	for _, dir := range []string{".", "..", "../supervise", "../deploy", "../l7"} {
		w.comments(t, dir)
	}
	w.b.WriteString(preface)
	for _, section := range []struct{ title, key string }{{"## Services", "services"}, {"## Frontends", "frontends"}, {"## Secrets", "secrets"}} {
		fmt.Fprintf(&w.b, "\n%s\n\n| key | is | default | change | meaning |\n|---|---|---|---|---|\n", section.title)
		field, _ := reflect.TypeFor[config.File]().FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, section.key) })
		w.keys(t, section.key+".NAME", field.Type.Elem())
	}
	w.expansions()
	w.b.WriteString("\n## Not in this version\n\nThese keys of the language are refused by their own message:\n\n" + w.later() + "\n")
	golden.Check(t, reference, w.b.String())
}

const preface = `# The file, key by key

Made from the Go types by ` + "`go generate ./config`" + `; [the room's page](../rooms/config.md) says how it is read.
` + "`schema: 1`" + ` is the first key. A change is *live* (in place, no connection lost) or *roll* (the service needs a new release).
`

// page is the reference page as it is written.
type page struct {
	b       strings.Builder
	meaning map[string]string // by type and field
}

// comments reads what stands behind and above the fields of every struct in dir.
func (p *page) comments(t *testing.T, dir string) {
	t.Helper()
	packages, err := parser.ParseDir(token.NewFileSet(), dir, nil, parser.ParseComments) //nolint:staticcheck // build tags do not matter here
	if err != nil {
		t.Fatal(err)
	}
	for name, pkg := range packages {
		ast.Inspect(pkg, func(n ast.Node) bool {
			if s, ok := n.(*ast.TypeSpec); ok {
				if st, ok := s.Type.(*ast.StructType); ok {
					for _, f := range st.Fields.List {
						for _, id := range f.Names {
							p.meaning[name+"."+s.Name.Name+"."+id.Name] = sentence(f)
						}
					}
				}
			}
			return true
		})
	}
}

func sentence(f *ast.Field) string {
	text := f.Comment.Text()
	if text == "" {
		text = f.Doc.Text()
	}
	return strings.ReplaceAll(strings.Join(strings.Fields(text), " "), "|", "\\|")
}

// keys writes a row for each key of a struct, and those below it.
func (p *page) keys(t *testing.T, at string, v reflect.Type) {
	t.Helper()
	plain := reflect.New(v).Elem()
	config.Fresh(plain)
	for _, f := range reflect.VisibleFields(v) {
		name := f.Tag.Get("yaml")
		if name == "" {
			continue
		}
		owner := v
		for _, i := range f.Index[:len(f.Index)-1] {
			owner = owner.Field(i).Type
		}
		key, below := at+"."+name, inner(f.Type)
		def := config.Text(plain.FieldByIndex(f.Index))
		if below != nil || def == "{  }" {
			def = ""
		}
		meaning := cmp.Or(p.meaning[owner.String()+"."+f.Name], plainly[strings.TrimPrefix(key, "services.NAME.")])
		if below == reflect.TypeFor[backstay.Probe]() && name != "startup" {
			meaning, below = meaning+"; keys as those of startup", nil
		}
		if meaning == "" || goName.MatchString(meaning) {
			t.Errorf("%s: what does it mean to who writes a file? %q", key, meaning)
		}
		fmt.Fprintf(&p.b, "| `%s` | %s | %s | %s | %s |\n", key, kindOf(f.Type), code(def), f.Tag.Get("change"), meaning)
		if below != nil {
			p.keys(t, key+suffix(f.Type), below)
		}
	}
}

// goName is a name of the code, which nobody finds in a file; KiB is none.
var goName = regexp.MustCompile(`\b[A-Z][a-z]{2,}[A-Z]\w*`)

// plainly says what fields without a comment mean.
var plainly = map[string]string{
	"version":                          "names the release; stands for ${version}; `deploy NAME --version V` overrides it",
	"run":                              "what to run",
	"run.exec":                         "the command, argument by argument; the first is an absolute path",
	"run.user":                         "name or uid; must be written while the agent is root",
	"run.group":                        "name or gid; the user's if left out",
	"run.groups":                       "supplementary groups; the user's if left out",
	"run.dir":                          "working directory",
	"run.env":                          "variables; the only place a secret goes",
	"run.env_file":                     "files of NAME=value lines; their bytes belong to the release",
	"run.nice":                         "-20 to 19",
	"run.oom_score_adj":                "-1000 to 1000",
	"run.rlimits":                      "limits of setrlimit(2), soft and hard alike",
	"ports":                            "auto is a free one for each instance",
	"replicas":                         "instances, 0 to 1000",
	"depends_on":                       "another service: started, ready or completed",
	"probes":                           "Kubernetes' three",
	"restart":                          "what follows an exit that nobody asked for",
	"stop":                             "how an instance leaves",
	"logs":                             "how much of what it prints is kept",
	"probes.startup.period":            "between two questions",
	"probes.startup.failure_threshold": "bad answers in a row until it is bad",
	"probes.startup.success_threshold": "good ones in a row until it is good",
	"probes.startup.initial_delay":     "before the first question",
}

func code(s string) string {
	if s == "" {
		return ""
	}
	return "`" + s + "`"
}

var textType = reflect.TypeFor[encoding.TextMarshaler]()

// inner returns the struct that a key of type v holds, or nil.
func inner(v reflect.Type) reflect.Type {
	switch v.Kind() { //nolint:exhaustive // the others hold no keys
	case reflect.Pointer, reflect.Slice, reflect.Map:
		return inner(v.Elem())
	case reflect.Struct:
		if !v.Implements(textType) && len(config.Fields(v)) > 0 {
			return v
		}
	}
	return nil
}

func suffix(v reflect.Type) string {
	switch v.Kind() {
	case reflect.Slice:
		return "[]"
	case reflect.Map:
		return ".NAME"
	default:
		return ""
	}
}

// kindOf says what a key of type v holds.
func kindOf(v reflect.Type) string {
	words := map[string]string{
		"backstay.Duration": "duration", "backstay.Size": "size", "backstay.Percent": "percent", "backstay.Budget": "budget",
		"backstay.Range": "range", "backstay.Count": "count or percent", "backstay.PortRef": "port", "backstay.Expect": "statuses, or status and body",
		"backstay.Statuses": "statuses", "supervise.PortWish": "auto or number, /udp", "supervise.Octal": "octal, in quotes",
		"supervise.Rlimit": "number, size or unlimited", "netip.Prefix": "network", "bool": "true or false", "int": "number", "string": "text",
	}
	switch word, known := words[v.String()]; {
	case known:
		return word
	case v.Kind() == reflect.Pointer:
		return kindOf(v.Elem())
	case v.Kind() == reflect.Slice:
		return "list of " + strings.TrimPrefix(kindOf(v.Elem()), "a ")
	case v.Kind() == reflect.Map:
		return "by name: " + kindOf(v.Elem())
	case v.Kind() == reflect.Struct:
		return "keys"
	default:
		return "word"
	}
}

func (p *page) expansions() {
	p.b.WriteString("\n## Expansions\n\n| where | what |\n|---|---|\n")
	var rows []string
	for where, kinds := range config.Expansions {
		names := map[string]string{"version": "${version}", "port": "${port.X}", "node": "${node.name}", "secret": "${secret.X}", "env": "${env.X}"}
		var all []string
		for _, k := range kinds {
			all = append(all, "`"+names[k]+"`")
		}
		rows = append(rows, fmt.Sprintf("| `%s` | %s |\n", where, strings.Join(all, " ")))
	}
	slices.Sort(rows)
	p.b.WriteString(strings.Join(rows, "") + "\n`$${` is the text `${`, anywhere.\n")
}

var (
	named = strings.NewReplacer("services.*", "services.NAME", "frontends.*", "frontends.NAME", "secrets.*", "secrets.NAME",
		"probes.readiness.", "probes.startup.", "probes.liveness.", "probes.startup.") // the three are alike
	tops = map[string]bool{"schema": true, "services": true, "frontends": true, "secrets": true}
)

// later returns the keys of the language that no type has, without those below
// them.
func (p *page) later() string {
	var all []string
	last := "-" // of all
	for line := range strings.Lines(config.LanguageText) {
		pattern, _, _ := strings.Cut(strings.TrimSpace(line), ": ")
		key := named.Replace(pattern)
		built := strings.Contains(p.b.String(), "`"+strings.TrimSuffix(strings.TrimSuffix(key, "[]"), ".*")+"`")
		if key != pattern && slices.Contains(all, "`"+key+"`") {
			last = key
			continue
		}
		if !built && !strings.HasPrefix(key, last+".") && !strings.HasPrefix(key, last+"[") && !tops[key] {
			last = key
			all = append(all, "`"+key+"`")
		}
	}
	return strings.Join(all, " ")
}
