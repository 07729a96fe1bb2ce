package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/backstay/backstay/internal/atomicfile"
	"github.com/backstay/backstay/internal/keeperwire"
	"github.com/backstay/backstay/internal/restart"
	"github.com/backstay/backstay/internal/statefile"
)

// The instances that Backstay itself is made of. No service may have a name
// that makes one of these.
const (
	agentID = "backstay-agent"
	proxyID = "backstay-proxy"
)

// isRole reports whether id is one of ours.
func isRole(id string) bool { return strings.HasPrefix(id, "backstay-") }

// roleRestart is how a role comes back: always, and never so late that a person
// would notice. A role that cannot start at all says so in its log every 5 s.
var roleRestart = restart.Policy{
	When: restart.Always, Min: 50 * time.Millisecond, Max: 5 * time.Second, ResetAfter: 10 * time.Second,
}

// Bounds of roles.
const (
	roleLogSize  = 16 << 20
	roleLogFiles = 4
	roleGrace    = 10 * time.Second
	agentSilent  = 10 * time.Second // without a word: hung, and killed
)

// ownEnvironment is what roles inherit: the environment of the first of them,
// without what the keeper gave to it.
func ownEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return name == "BACKSTAY_INSTANCE" || name == "BACKSTAY_KEEPER" || strings.HasPrefix(name, "LISTEN_") || name == "GOGC" || name == "GOMEMLIMIT"
	})
}

// roleSpec is what all roles have in common.
func roleSpec(o Options, name string) (keeperwire.Spec, error) {
	exe, err := program()
	if err != nil {
		return keeperwire.Spec{}, fmt.Errorf("find own program: %w", err)
	}
	return keeperwire.Spec{
		ID: "backstay-" + name, Argv: append([]string{exe, "role", name}, o.arguments()...), Env: ownEnvironment(),
		Dir: "/", Umask: 0o022, LogFile: filepath.Join(o.Dirs.Log, roles, name+".log"),
		LogMaxSize: roleLogSize, LogMaxFiles: roleLogFiles, LogDrop: true, // a role never waits for its log
		Restart: roleRestart, Signal: sigTERM, GraceMS: roleGrace.Milliseconds(),
	}, nil
}

// sigTERM is its number on every Linux.
const sigTERM = 15

// agentSpec has the agent in no cgroup of its own: a keeper that it starts would
// be killed with it.
func agentSpec(o Options) (keeperwire.Spec, error) {
	s, err := roleSpec(o, "agent")
	s.SilentMS = agentSilent.Milliseconds()
	return s, err
}

// account is whom the proxy runs as.
type account struct {
	id, group uint32
	other     bool // than the agent
}

func (u account) uid() int {
	if u.other {
		return int(u.id)
	}
	return os.Geteuid()
}

// proxySpec has the proxy run as a user of its own, with the sockets in fds and
// nothing of the agent's environment that may be a secret.
func (a *agent) proxySpec(user account, fds []string) (keeperwire.Spec, error) {
	s, err := roleSpec(a.Options, "proxy")
	s.Cgroup = roles + "/" + proxyID
	s.FDs = fds
	s.Env = slices.DeleteFunc(s.Env, func(v string) bool { return !harmless(v) })
	if user.other {
		s.SetIDs, s.UID, s.GID = true, user.id, user.group
	}
	return s, err
}

// harmless reports whether a variable is for every program and none's secret.
func harmless(v string) bool {
	name, _, _ := strings.Cut(v, "=")
	return name == "PATH" || name == "TZ" || name == "LANG" || name == "GODEBUG" || name == "GOMAXPROCS" || name == "GOTRACEBACK" ||
		strings.HasPrefix(name, "LC_")
}

// The uids that are given to the proxy where there is no user backstay-proxy:
// those systemd gives to dynamic users, which no file on disk belongs to.
const (
	firstDynamic = 61184
	lastDynamic  = 65519
)

// proxyUser returns whom the proxy runs as.
func (a *agent) proxyUser() account {
	if os.Geteuid() != 0 {
		return account{}
	}
	if u, err := a.users.User("backstay-proxy"); err == nil {
		return account{u.UID, u.GID, true}
	}
	path := filepath.Join(a.Dirs.State, "identity", "proxy.uid")
	uid, err := readUID(path)
	if err == nil {
		return account{uid, uid, true}
	}
	uid = a.freeUser()
	if !errors.Is(err, fs.ErrNotExist) {
		aside := statefile.Aside(path)
		a.log.Error("uid of the proxy cannot be read, taking a free one", "uid", uid, "aside", aside, "why", err.Error())
		a.tellBroken(fmt.Sprintf("the uid of the proxy could not be read, it is %d from its next start on: %v; what was there is %s", uid, err, aside))
	}
	if err := atomicfile.WriteFile(path, []byte(strconv.Itoa(int(uid))+"\n"), 0o600); err != nil {
		a.log.Warn("uid of the proxy not kept", "why", err.Error())
	}
	return account{uid, uid, true}
}

// readUID reads a dynamic uid.
func readUID(path string) (uint32, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return 0, err //nolint:wrapcheck // it names the file
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 32)
	if err != nil || n < firstDynamic || n > lastDynamic {
		const shown = 20
		return 0, fmt.Errorf("%s says %q, and should be a number from %d to %d", path, text[:min(len(text), shown)], firstDynamic, lastDynamic)
	}
	return uint32(n), nil
}

// freeUser returns a dynamic uid that nobody is known under.
func (a *agent) freeUser() uint32 {
	for uid := uint32(firstDynamic); uid < lastDynamic; uid++ {
		if name, err := a.users.User(strconv.Itoa(int(uid))); err != nil || name.Name == strconv.Itoa(int(uid)) {
			return uid
		}
	}
	return lastDynamic
}
