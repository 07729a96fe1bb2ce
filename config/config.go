package config

import (
	"fmt"
	"io"
	"os"
	"slices"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/deploy"
	"github.com/backstay/backstay/l7"
	"github.com/backstay/backstay/supervise"
)

// File is the whole file.
type File struct {
	Schema    int                    `yaml:"schema" change:"live"` // version of the language: 1
	Services  map[string]Service     `yaml:"services" change:"live"`
	Frontends map[string]l7.Frontend `yaml:"frontends" change:"live"`
	Secrets   map[string]Secret      `yaml:"secrets" change:"roll"`

	name     string
	text     []byte
	warnings []Found
	at       map[string]place // where each key stands
}

// Service is what the file says about one service: the keys of every room that
// has to do with it.
type Service struct {
	supervise.Service

	Deploy  deploy.Config `yaml:"deploy" change:"live"`  // how a new release comes in
	Traffic backstay.Pool `yaml:"traffic" change:"live"` // how requests are spread over the instances
}

// SetDefaults fills in what a file leaves out.
func (s *Service) SetDefaults() {
	s.Service.SetDefaults()
	s.Deploy.SetDefaults()
	s.Traffic.SetDefaults()
}

// Secret is where the content of a secret comes from: exactly one of these.
type Secret struct {
	File       string   `yaml:"file" change:"roll"`       // absolute path; the last newline is cut
	Env        string   `yaml:"env" change:"roll"`        // variable of the agent
	Credential string   `yaml:"credential" change:"roll"` // file in $CREDENTIALS_DIRECTORY
	Command    []string `yaml:"command" change:"roll"`    // what it prints
}

// maxFile is the size of the largest file that is read, in bytes. A thousand
// services take half of it.
const maxFile = 1 << 20

// Load reads and checks the file called name on this host. Its mistakes are an
// *[Error].
func Load(name string) (*File, error) {
	text, err := Read(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, text)
}

// Read returns the text of the file called name, without looking at it further
// than its size.
func Read(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	defer func() { _ = f.Close() }() // only read
	text, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("read config: %w", err)
	}
	return text, nil
}

// Parse checks text for this host. It is called name in what it returns: an
// *[Error] with every mistake in it.
func Parse(name string, text []byte) (*File, error) { return ParseIn(Host(), name, text) }

// ParseIn is [Parse] for the host that env is. Without one (nil) the host is not
// asked: that is for a file which was good before, and must load whatever has
// become of the files and users it names.
func ParseIn(env Env, name string, text []byte) (*File, error) {
	d := decoder{at: map[string]spot{}, guessed: map[string]bool{}}
	f := File{name: name, text: slices.Clone(text)}
	var warnings []mistake
	if root := d.read(text); root != nil {
		d.at[""] = spot{key: root.at, value: root}
		d.value(top, root, elem(&f))
		if c := newCheck(env, &f, &d); len(d.found) <= maxFound {
			c.all()
			warnings = c.warnings
		}
	}
	if len(d.found) > 0 {
		return nil, newError(name, text, d.found)
	}
	f.at = make(map[string]place, len(d.at))
	for key, s := range d.at {
		f.at[key] = s.key
	}
	f.warnings = newError(name, text, warnings).Found
	return &f, nil
}
