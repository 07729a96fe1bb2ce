package demo

import (
	"embed"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/backstay/backstay/daemon"
	"github.com/backstay/backstay/internal/freeport"
)

//go:embed shop.yaml broken.yaml
var files embed.FS

// firstPort is where the shop is looked for; the next free one is taken.
const (
	firstPort = 18080
	lastPort  = 18179
)

// stage is where the demonstration takes place: a directory of its own, gone
// afterwards.
type stage struct {
	dir     string
	dirs    daemon.Dirs
	program string // backstay
	shop    string // as built
	port    int
	held    net.Listener // keeps the port for us until Backstay binds it
	file    string
	text    string
	broken  string
}

// setStage makes the directory, the three versions of the shop and the file.
func setStage() (*stage, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	s := &stage{program: exe, shop: filepath.Join(filepath.Dir(exe), "shop")}
	if _, err := os.Stat(s.shop); err != nil {
		return nil, fmt.Errorf("find the shop: %w; `make build` puts it beside backstay", err)
	}
	if s.dir, err = os.MkdirTemp(parent(os.TempDir(), os.Geteuid()), "bs-"); err != nil {
		return nil, fmt.Errorf("make directory: %w", err)
	}
	if err := os.Chmod(s.dir, 0o755); err != nil { // as root, the shop is somebody else
		return nil, fmt.Errorf("make directory: %w", err)
	}
	s.dirs = daemon.DirsIn(s.dir)
	for version, flags := range map[string]string{"v1": "", "v2": "", "v3": "--die-after 1.5s\n"} {
		if err := s.install(version, flags); err != nil {
			return nil, err
		}
	}
	if s.held, s.port, err = freePort(); err != nil {
		return nil, err
	}
	return s, s.write()
}

// maxParent leaves room for the sockets of a stage: the path of one has 107 bytes.
const maxParent = 60

// parent is where the stage is built: in dir, if its sockets fit there and the
// shop, which is somebody else where we are root, can walk to it.
func parent(dir string, uid int) string {
	if len(dir) > maxParent {
		return "/tmp"
	}
	for at := dir; uid == 0 && at != "/" && at != "."; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err != nil || info.Mode()&1 == 0 {
			return "/tmp"
		}
	}
	return dir
}

// install copies the shop to where its version lives.
func (s *stage) install(version, flags string) error {
	dir := filepath.Join(s.dir, "shop", version)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("install shop: %w", err)
	}
	from, err := os.Open(s.shop)
	if err != nil {
		return fmt.Errorf("install shop: %w", err)
	}
	defer func() { _ = from.Close() }() // only read
	to, err := os.OpenFile(filepath.Join(dir, "shop"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o755)
	if err != nil {
		return fmt.Errorf("install shop: %w", err)
	}
	if _, err := io.Copy(to, from); err != nil {
		return fmt.Errorf("install shop: %w", err)
	}
	if err := to.Close(); err != nil {
		return fmt.Errorf("install shop: %w", err)
	}
	if flags == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, "shop.flags"), []byte(flags), 0o644); err != nil {
		return fmt.Errorf("install shop: %w", err)
	}
	return nil
}

// write writes the two files that are shown and applied.
func (s *stage) write() error {
	user := ""
	if os.Geteuid() == 0 {
		user = "\n      user: nobody"
	}
	fill := strings.NewReplacer("DIR", s.dir, "PORT", fmt.Sprint(s.port), "\n      USER", user)
	for name, to := range map[string]*string{"shop.yaml": &s.file, "broken.yaml": &s.broken} {
		text, err := files.ReadFile(name)
		if err != nil {
			return fmt.Errorf("write file: %w", err)
		}
		*to = filepath.Join(s.dir, name)
		filled := fill.Replace(string(text))
		if name == "shop.yaml" {
			s.text = filled
		}
		if err := os.WriteFile(*to, []byte(filled), 0o644); err != nil {
			return fmt.Errorf("write file: %w", err)
		}
	}
	return nil
}

func (s *stage) strike() {
	_ = s.held.Close()
	_ = os.RemoveAll(s.dir)
}

func (s *stage) address() string { return fmt.Sprintf("127.0.0.1:%d", s.port) }

// flags are what a command needs to find this Backstay.
func (s *stage) flags() []string {
	return []string{"--run-dir", s.dirs.Run, "--state-dir", s.dirs.State, "--log-dir", s.dirs.Log}
}

// up is the command that runs the file.
func (s *stage) up() []string { return append([]string{s.program, "up", s.file}, s.flags()...) }

// freePort listens at a port that nobody listens at: it is ours until it is
// closed.
func freePort() (net.Listener, int, error) {
	l, port, err := freeport.Listen(freeport.Range(firstPort, lastPort))
	if err != nil {
		return nil, 0, fmt.Errorf("find a port from %d to %d: %w", firstPort, lastPort, err)
	}
	return l, port, nil
}
