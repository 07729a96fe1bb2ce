package daemon

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/config"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/supervise"
)

// searchPath is PATH of every instance that its file gives none.
const searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// resolver turns a release into what the keeper runs: nothing is left to look up.
type resolver struct {
	dirs    Dirs
	node    string
	users   *proc.Users
	secrets *secrets
}

// Spec implements [supervise.Resolver].
func (r *resolver) Spec(rel backstay.Release, id string, ports map[string]uint16) (keeperwire.Spec, error) {
	argv, err := r.Argv(rel, id, ports, rel.Exec.Argv)
	if err != nil {
		return keeperwire.Spec{}, err
	}
	env, err := r.environment(rel, ports)
	if err != nil {
		return keeperwire.Spec{}, err
	}
	dir, err := r.expand(rel.Exec.Dir, rel, ports)
	if err != nil {
		return keeperwire.Spec{}, err
	}
	logs := filepath.Join(r.dirs.Log, rel.Service)
	if err := os.MkdirAll(logs, 0o755); err != nil {
		return keeperwire.Spec{}, fmt.Errorf("make directory of logs: %w", err)
	}
	s := keeperwire.Spec{
		ID: id, Argv: argv, Env: env, Dir: dir, Umask: rel.Exec.Umask, Nice: int32(rel.Exec.Nice),
		OOMScoreAdj: int32(rel.Exec.OOMScoreAdj), Cgroup: rel.Service + "/" + id, LogFile: filepath.Join(logs, id+".log"),
	}
	for _, name := range slices.Sorted(maps.Keys(rel.Exec.Rlimits)) {
		s.Rlimits = append(s.Rlimits, rlimit(name, rel.Exec.Rlimits[name]))
	}
	return s, r.identify(rel, &s)
}

func rlimit(name string, n int64) keeperwire.Rlimit {
	limit := uint64(n)
	if n < 0 {
		limit = ^uint64(0) // RLIM_INFINITY
	}
	number := int32(slices.Index(supervise.RlimitNames, name)) //nolint:gosec // 0 to 15
	return keeperwire.Rlimit{Resource: number, Soft: limit, Hard: limit}
}

// identify fills in whom s runs as.
func (r *resolver) identify(rel backstay.Release, s *keeperwire.Spec) (err error) {
	s.UID, s.GID, s.Groups, s.SetIDs, err = r.Account(rel.Exec.User)
	if err != nil || !s.SetIDs {
		return err
	}
	if rel.Exec.Group != "" {
		if s.GID, err = r.users.Group(rel.Exec.Group); err != nil {
			return fmt.Errorf("group of %s: %w", rel.Service, err)
		}
	}
	if len(rel.Exec.Groups) > 0 {
		s.Groups = nil
	}
	for _, name := range rel.Exec.Groups {
		gid, err := r.users.Group(name)
		if err != nil {
			return fmt.Errorf("groups of %s: %w", rel.Service, err)
		}
		s.Groups = append(s.Groups, gid)
	}
	return nil
}

// Account implements [supervise.Resolver]. Without root nobody changes users.
func (r *resolver) Account(user string) (uid, gid uint32, groups []uint32, set bool, err error) {
	if user == "" || os.Geteuid() != 0 {
		return 0, 0, nil, false, nil
	}
	a, err := r.users.User(user)
	if err != nil {
		return 0, 0, nil, false, fmt.Errorf("find user: %w", err)
	}
	return a.UID, a.GID, a.Groups, true, nil
}

// Argv implements [supervise.Resolver].
func (r *resolver) Argv(rel backstay.Release, _ string, ports map[string]uint16, argv []string) ([]string, error) {
	out := make([]string, len(argv))
	for i, arg := range argv {
		var err error
		if out[i], err = config.Expand(arg, r.public(rel, ports)); err != nil {
			return nil, fmt.Errorf("expand argument %q: %w", arg, err)
		}
	}
	return out, nil
}

func (r *resolver) expand(text string, rel backstay.Release, ports map[string]uint16) (string, error) {
	out, err := config.Expand(text, r.public(rel, ports))
	if err != nil {
		return "", fmt.Errorf("expand %q: %w", text, err)
	}
	return out, nil
}

// public looks up what may stand in sight of everybody.
func (r *resolver) public(rel backstay.Release, ports map[string]uint16) func(kind, name string) (string, error) {
	return func(kind, name string) (string, error) {
		switch {
		case kind == "port" && ports[name] != 0:
			return strconv.Itoa(int(ports[name])), nil
		case kind == "node" && name == "name":
			return r.node, nil
		case kind == "version": // of a probe's command; a release has its own replaced
			return rel.Version, nil
		default:
			return "", fmt.Errorf("${%s.%s} has no value here", kind, name)
		}
	}
}

// environment is complete: an instance inherits nothing of ours.
func (r *resolver) environment(rel backstay.Release, ports map[string]uint16) ([]string, error) {
	env := map[string]string{"PATH": searchPath, "BACKSTAY_SERVICE": rel.Service, "BACKSTAY_RELEASE": rel.ID(), "BACKSTAY_VERSION": rel.Version}
	r.home(rel.Exec.User, env)
	for _, file := range rel.Exec.EnvFile {
		vars, err := config.ParseEnvFile(rel.EnvFiles[file])
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		maps.Copy(env, vars)
	}
	public := r.public(rel, ports)
	look := func(kind, name string) (string, error) {
		if kind == "secret" {
			return r.secrets.content(name)
		}
		return public(kind, name)
	}
	for name, text := range rel.Exec.Env {
		v, err := config.Expand(text, look)
		if err != nil {
			return nil, fmt.Errorf("expand env %s: %w", name, err)
		}
		env[name] = v
	}
	out := make([]string, 0, len(env))
	for _, name := range slices.Sorted(maps.Keys(env)) {
		out = append(out, name+"="+env[name])
	}
	return out, nil
}

// home says who and where one is, as login(1) does.
func (r *resolver) home(user string, env map[string]string) {
	if os.Geteuid() != 0 {
		user = strconv.Itoa(os.Geteuid())
	}
	if a, err := r.users.User(user); err == nil {
		env["USER"], env["LOGNAME"], env["HOME"] = a.Name, a.Name, cmp.Or(a.Home, "/")
	}
}
