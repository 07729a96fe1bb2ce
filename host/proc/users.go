package proc

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"time"
)

// ErrUnknown is wrapped by the error for an account that the host does not have.
var ErrUnknown = errors.New("no such account")

// Bounds of asking getent.
const (
	// getentWithin is how long a directory service may take to name one account.
	// A dead LDAP server takes for ever; a living one far under a second.
	getentWithin = 5 * time.Second
	// maxGetent is the largest answer: a group of ten thousand members fits.
	maxGetent = 256 << 10
)

// Account is a user of the host.
type Account struct {
	UID, GID uint32   // GID is the primary group
	Groups   []uint32 // all of its groups, the primary one first: what initgroups(3) would set
	Name     string   // the number itself for one that no database names
	Home     string
}

// Users looks accounts up without cgo: in /etc/passwd and /etc/group first, and
// for names that are not there by running getent, which also knows directory
// services. A number that nobody knows stands for itself. The zero value asks
// this host; every lookup reads afresh.
type Users struct {
	passwd, group string   // files; empty is those of the host
	getent        []string // command; nil is getent
}

// User returns the user called name, or with the uid that name is. A bare uid
// that no database knows has the group of the same number: never root's.
func (u *Users) User(name string) (Account, error) {
	if err := plain("user", name); err != nil {
		return Account{}, err
	}
	id, numeric := number(name)
	line, err := u.find(u.passwdFile(), "passwd", 7, func(f []string) bool {
		return f[0] == name || numeric && f[2] == name
	}, name)
	switch {
	case errors.Is(err, ErrUnknown) && numeric:
		return Account{UID: id, GID: id, Groups: []uint32{id}, Name: name, Home: "/"}, nil
	case err != nil:
		return Account{}, fmt.Errorf("user %s: %w", name, err)
	}
	uid, okUID := number(line[2])
	gid, okGID := number(line[3])
	if !okUID || !okGID {
		return Account{}, fmt.Errorf("user %s: its entry %q has no uid and gid", name, strings.Join(line, ":"))
	}
	groups, err := u.groups(line[0], gid)
	if err != nil {
		return Account{}, fmt.Errorf("user %s: %w", name, err)
	}
	return Account{UID: uid, GID: gid, Groups: groups, Name: line[0], Home: line[5]}, nil
}

// Group returns the id of the group called name, or the number that name is.
func (u *Users) Group(name string) (uint32, error) {
	if err := plain("group", name); err != nil {
		return 0, err
	}
	if id, numeric := number(name); numeric {
		return id, nil
	}
	line, err := u.find(u.groupFile(), "group", 4, func(f []string) bool { return f[0] == name }, name)
	if err != nil {
		return 0, fmt.Errorf("group %s: %w", name, err)
	}
	gid, ok := number(line[2])
	if !ok {
		return 0, fmt.Errorf("group %s: its entry %q has no gid", name, strings.Join(line, ":"))
	}
	return gid, nil
}

// groups returns all groups of the user called name. One of /etc/passwd has those
// of /etc/group; one of a directory service also those that getent tells.
func (u *Users) groups(name string, primary uint32) ([]uint32, error) {
	all := []uint32{primary}
	err := eachLine(u.groupFile(), 4, func(f []string) bool {
		if gid, ok := number(f[2]); ok && slices.Contains(strings.Split(f[3], ","), name) {
			all = append(all, gid)
		}
		return false
	})
	if err != nil {
		return nil, err
	}
	if !u.local(name) {
		told, err := u.ask("initgroups", name)
		if err != nil && !errors.Is(err, ErrUnknown) {
			return nil, fmt.Errorf("find groups: %w", err)
		}
		all = append(all, numbers(told)...)
	}
	return unique(all), nil
}

// local reports whether /etc/passwd has a user called name.
func (u *Users) local(name string) bool {
	found := false
	_ = eachLine(u.passwdFile(), 7, func(f []string) bool {
		found = f[0] == name
		return found
	})
	return found
}

func (u *Users) passwdFile() string { return or(u.passwd, "/etc/passwd") }
func (u *Users) groupFile() string  { return or(u.group, "/etc/group") }

// find returns the fields of the first line of file that match accepts, else
// of getent's answer about name.
func (u *Users) find(file, database string, fields int, match func([]string) bool, name string) ([]string, error) {
	var found []string
	err := eachLine(file, fields, func(f []string) bool {
		if match(f) {
			found = f
		}
		return found != nil
	})
	if err != nil || found != nil {
		return found, err
	}
	line, err := u.ask(database, name)
	if err != nil {
		return nil, fmt.Errorf("not in %s: %w", file, err)
	}
	f := strings.Split(line, ":")
	if len(f) < fields {
		return nil, fmt.Errorf("getent %s %s: the answer %q is no entry", database, name, line)
	}
	return f, nil
}

// ask returns the first line that getent prints about name.
func (u *Users) ask(database, name string) (string, error) {
	argv := u.getent
	if argv == nil {
		argv = []string{"getent"}
	}
	out, err := output(context.Background(), append(slices.Clone(argv), database, name), maxGetent, getentWithin)
	line, _, _ := strings.Cut(string(out), "\n")
	var exit *exec.ExitError
	const keyNotFound, databaseUnknown = 2, 1 // getent(1); musl's has no initgroups
	switch {
	case errors.Is(err, exec.ErrNotFound):
		return "", fmt.Errorf("%w, and there is no getent to ask others", ErrUnknown)
	case errors.As(err, &exit) && (exit.ExitCode() == keyNotFound || exit.ExitCode() == databaseUnknown):
		return "", fmt.Errorf("%w, says getent", ErrUnknown)
	case err != nil:
		return "", err
	}
	return line, nil
}

// eachLine calls visit with the fields of each entry of file that has at least
// so many, until visit returns true. A missing file has none.
func eachLine(file string, fields int, visit func([]string) bool) error {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	defer func() { _ = f.Close() }()
	lines := bufio.NewScanner(f)
	lines.Buffer(nil, maxGetent)
	for lines.Scan() {
		entry := strings.Split(lines.Text(), ":")
		if len(entry) >= fields && !strings.HasPrefix(entry[0], "#") && visit(entry) {
			return nil
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read accounts of %s: %w", file, err)
	}
	return nil
}

// plain refuses what is no name of an account, and what getent would take for
// an option.
func plain(kind, name string) error {
	if name == "" || name[0] == '-' || len(name) > 256 || strings.ContainsFunc(name, func(r rune) bool {
		return r <= ' ' || r == ':' || r == ',' || r == '/' || r == 0x7f
	}) {
		return fmt.Errorf("%q is no name of a %s: %w", name, kind, ErrUnknown)
	}
	return nil
}

// number returns the id that text is. 4294967295 is -1, "do not change", to
// the kernel.
func number(text string) (uint32, bool) {
	n, err := strconv.ParseUint(text, 10, 32)
	return uint32(n), err == nil && n != 1<<32-1 && text[0] != '+'
}

// numbers returns the ids of getent's "name 1 2 3".
func numbers(line string) (ids []uint32) {
	for i, word := range strings.Fields(line) {
		if id, ok := number(word); ok && i > 0 {
			ids = append(ids, id)
		}
	}
	return ids
}

// unique drops repetitions and keeps the order.
func unique(ids []uint32) []uint32 {
	var out []uint32
	for _, id := range ids {
		if !slices.Contains(out, id) {
			out = append(out, id)
		}
	}
	return out
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}
