package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"strconv"
	"strings"

	"github.com/backstay/backstay"
	"github.com/backstay/backstay/host/proc"
	"github.com/backstay/backstay/l7"
)

// account is the answer to who a user or group is.
type account struct {
	id  uint32
	err error
}

// host asks the host for what the file names.
func (c *check) host() {
	for name, s := range inOrder(c.file.Services) {
		key := "services." + name
		c.users(key, &s)
		c.programs(key, &s)
	}
	for name, f := range inOrder(c.file.Frontends) {
		c.frontend("frontends."+name, &f)
	}
	for name, s := range inOrder(c.file.Secrets) {
		key := "secrets." + name
		if len(s.Command) > 0 {
			c.program(key+".command[0]", s.Command[0], "")
		}
		if s.File != "" && !expands(s.File) {
			c.read(key+".file", s.File)
		}
	}
}

// users looks up who a service and its probes run as.
func (c *check) users(key string, s *Service) {
	r := &s.Run
	if r.User == "" && c.env.UID() == 0 && len(r.Exec) > 0 {
		c.say("user_missing", key+".run.user", "", "is missing: it would run as root")
	}
	c.user(key+".run.user", r.User)
	c.group(key+".run.group", r.Group)
	for i, g := range r.Groups {
		c.group(fmt.Sprintf("%s.run.groups[%d]", key, i), g)
	}
	for name, p := range s.Probes.All() {
		if p != nil {
			c.user(key+".probes."+name+".user", p.User)
		}
	}
	if c.env.UID() == 0 {
		return
	}
	if r.Nice < 0 {
		c.say("needs_root", key+".run.nice", "0", "%d: only root may raise a priority", r.Nice)
	}
	if r.OOMScoreAdj < 0 {
		c.say("needs_root", key+".run.oom_score_adj", "0", "%d: only root may protect from the OOM killer", r.OOMScoreAdj)
	}
}

func (c *check) user(key, name string) {
	if name == "" {
		return
	}
	a := c.account("user", name)
	switch uid := c.env.UID(); {
	case a.err != nil:
		c.noAccount(key, "user", name, a.err)
	case uid != 0 && int64(a.id) != int64(uid):
		c.say("needs_root", key, "", "only root may run as %s", name)
	}
}

func (c *check) group(key, name string) {
	if name == "" {
		return
	}
	if a := c.account("group", name); a.err != nil {
		c.noAccount(key, "group", name, a.err)
	} else if c.env.UID() != 0 {
		c.say("needs_root", key, "", "only root may change to group %s", name)
	}
}

// accountName is a name that useradd and groupadd take as it is.
var accountName = regexp.MustCompile(`^[a-z_][a-z0-9_-]*$`)

func (c *check) noAccount(key, kind, name string, err error) {
	if errors.Is(err, proc.ErrUnknown) {
		hint := ""
		if accountName.MatchString(name) {
			hint = "create it: " + kind + "add --system " + name
		}
		c.hint("no_such_"+kind, key, hint, "there is no %s %s on this host", kind, name)
		return
	}
	c.say("account_unknown", key, "", "cannot look %s %s up: %v", kind, name, err)
}

// account asks once for each.
func (c *check) account(kind, name string) account {
	a, asked := c.accounts[kind+" "+name]
	if !asked {
		a.id, a.err = c.env.Account(kind, name)
		c.accounts[kind+" "+name] = a
	}
	return a
}

// programs looks at the files that a service runs and reads.
func (c *check) programs(key string, s *Service) {
	r := &s.Run
	if c.told[key+".version"] || c.said[key+".version"] {
		return // no path is known
	}
	if len(r.Exec) > 0 {
		c.program(key+".run.exec[0]", r.Exec[0], s.Version)
	}
	if dir := expandVersion(r.Dir, s.Version); !expands(dir) {
		c.stat(key+".run.dir", dir, fs.FileMode.IsDir, "is not a directory")
	}
	for i, file := range r.EnvFile {
		if file = expandVersion(file, s.Version); !expands(file) {
			c.envFile(fmt.Sprintf("%s.run.env_file[%d]", key, i), file)
		}
	}
	for name, p := range s.Probes.All() {
		if p != nil && len(p.Exec) > 0 {
			c.program(key+".probes."+name+".exec[0]", p.Exec[0], s.Version)
		}
	}
}

// expands reports whether s still holds what only an instance knows, or is no
// absolute path, which has been told.
func expands(s string) bool { return strings.Contains(s, "${") || !strings.HasPrefix(s, "/") }

// program refuses a command that is not there or cannot be run.
func (c *check) program(key, path, version string) {
	if path = expandVersion(path, version); expands(path) || c.said[key] {
		return
	}
	info := c.stat(key, path, fs.FileMode.IsRegular, "is not a program")
	if info != nil && info.Mode()&0o111 == 0 {
		c.hint("not_executable", key, "chmod +x "+path, "%s is not executable", path)
	}
}

// stat returns a file of the right sort, or nil after a mistake. What this user
// may not look at may still be there.
func (c *check) stat(key, path string, right func(fs.FileMode) bool, wrong string) fs.FileInfo {
	info, err := c.env.Stat(path)
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		c.say("no_such_file", key, "", "there is no %s", path)
		return nil
	case err != nil:
		c.say("unreadable_file", key, "", "cannot look at %s: %v", path, cause(err))
		return nil
	case !right(info.Mode()):
		c.say("wrong_file", key, "", "%s %s", path, wrong)
		return nil
	}
	return info
}

// cause returns the innermost error: what the kernel said.
func cause(err error) error {
	for next := errors.Unwrap(err); next != nil; next = errors.Unwrap(err) {
		err = next
	}
	return err
}

// read returns the contents of a file, or nil after a mistake.
func (c *check) read(key, path string) []byte {
	text, err := c.env.ReadFile(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		c.say("no_such_file", key, "", "there is no %s", path)
		return nil
	case errors.Is(err, fs.ErrPermission):
		c.say("unreadable_file", key, "", "cannot read %s: permission denied", path)
		return nil
	case err != nil:
		c.say("unreadable_file", key, "", "cannot read %s: %v", path, cause(err))
		return nil
	}
	return text
}

func (c *check) envFile(key, path string) {
	if _, err := ParseEnvFile(c.read(key, path)); err != nil {
		c.say("bad_env_file", key, "", "%s: %v", path, err)
	}
}

// unprivileged is added to a port that only root may bind: 80 becomes 8080, 443
// becomes 8443, so that what is tried instead does not clash.
const unprivileged = 8000

// frontend looks at the files and ports that a frontend names.
func (c *check) frontend(key string, f *l7.Frontend) {
	low := unprivilegedPorts(c.env)
	for i, text := range f.Bind {
		if b, err := l7.ParseBind(text); err == nil && b.Unix == "" && b.Port < low {
			try := strings.TrimSuffix(text, strconv.Itoa(int(b.Port))) + strconv.Itoa(int(b.Port)+unprivileged)
			c.say("privileged_port", fmt.Sprintf("%s.bind[%d]", key, i), try, "%s: only root may bind a port below %d", text, low)
		}
	}
	if f.TLS != nil {
		for i, files := range f.TLS.Certs {
			c.cert(fmt.Sprintf("%s.tls.certs[%d]", key, i), files)
		}
	}
	for i, r := range f.Routes {
		if r.Respond != nil && r.Respond.File != "" && !expands(r.Respond.File) {
			c.page(fmt.Sprintf("%s.routes[%d].respond.file", key, i), r.Respond.File)
		}
	}
	if f.AccessLog != nil && !expands(f.AccessLog.Path) {
		dir := f.AccessLog.Path[:max(strings.LastIndexByte(f.AccessLog.Path, '/'), 1)]
		c.stat(key+".access_log.path", dir, fs.FileMode.IsDir, "is not a directory")
	}
}

// page refuses an answer that is not there or too large to keep in memory.
func (c *check) page(key, path string) {
	info := c.stat(key, path, fs.FileMode.IsRegular, "is not a file")
	if info != nil && info.Size() > maxAsked {
		c.say("page_too_large", key, "", "%s is %s; an answer is at most %s", path, backstay.Size(info.Size()), backstay.Size(maxAsked))
	}
}

// cert refuses a certificate without its key, and a key that all can read.
func (c *check) cert(key string, files l7.CertFiles) {
	if expands(files.Cert) || expands(files.Key) {
		return
	}
	chain, private := c.read(key+".cert", files.Cert), c.read(key+".key", files.Key)
	if info, err := c.env.Stat(files.Key); err == nil && info.Mode()&0o004 != 0 {
		c.hint("key_for_all", key+".key", "chmod 600 "+files.Key, "every user of the host can read %s", files.Key)
	}
	if chain == nil || private == nil {
		return
	}
	pair, err := tls.X509KeyPair(chain, private)
	switch {
	case err == nil:
		c.dates(key+".cert", files.Cert, pair.Leaf)
	case strings.Contains(err.Error(), "does not match"):
		c.say("key_mismatch", key+".key", "", "%s is not the key of %s", files.Key, files.Cert)
	case strings.Contains(err.Error(), "private key"), strings.Contains(err.Error(), "key input"):
		c.say("bad_key", key+".key", "", "%s holds no private key as PEM", files.Key)
	default:
		c.say("bad_certificate", key+".cert", "", "%s holds no certificate as PEM", files.Cert)
	}
}

// dates warns of a certificate that clients refuse. It is no mistake: with it
// some clients are served, and other changes of the file must be possible.
func (c *check) dates(key, path string, leaf *x509.Certificate) {
	const day = "2006-01-02"
	switch now := c.env.Now(); {
	case leaf == nil:
	case now.After(leaf.NotAfter):
		c.warn("cert_expired", key, "%s expired on %s: clients refuse it", path, leaf.NotAfter.UTC().Format(day))
	case now.Before(leaf.NotBefore):
		c.warn("cert_not_yet_valid", key, "%s is valid from %s: clients refuse it until then", path, leaf.NotBefore.UTC().Format(day))
	}
}

// warn notes what is worth a look and no reason to refuse.
func (c *check) warn(code, key, format string, args ...any) {
	s, _ := c.find(key)
	m := backstay.Mistake{Code: code, Key: key, What: fmt.Sprintf(format, args...)}
	c.warnings = append(c.warnings, mistake{Mistake: m, place: s.key})
}
