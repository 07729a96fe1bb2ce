package proc

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// hosts returns a user database of a host, with a getent that is a script.
func hosts(t *testing.T, getent string) *Users {
	t.Helper()
	dir := t.TempDir()
	passwd := "root:x:0:0:root:/root:/bin/sh\n# a comment\nbroken line\nshop:x:990:991:The shop:/srv/shop:/bin/false\n" +
		"odd:x:many:991::/:\n-rf:x:1:1::/:\n"
	group := "root:x:0:\nshop:x:991:\nadm:x:4:other,shop\nssl-cert:x:110:shop\nalike:x:111:shopper\nodd:x:none:\n"
	write(t, filepath.Join(dir, "passwd"), passwd, 0o644)
	write(t, filepath.Join(dir, "group"), group, 0o644)
	write(t, filepath.Join(dir, "getent"), "#!/bin/sh\n"+getent, 0o755)
	return &Users{passwd: filepath.Join(dir, "passwd"), group: filepath.Join(dir, "group"), getent: []string{filepath.Join(dir, "getent")}}
}

const nobodyKnows = "exit 2"

func TestUnknownAccountsSayWhereTheyWereLookedFor(t *testing.T) {
	u := hosts(t, nobodyKnows)
	_, err := u.User("shopp")
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "user shopp: not in "+u.passwd) || !strings.Contains(err.Error(), "getent") {
		t.Errorf("user: %v", err)
	}
	if _, err = u.Group("shopp"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "group shopp: not in "+u.group) {
		t.Errorf("group: %v", err)
	}
	u.getent = []string{"/no/such/getent"}
	if _, err = u.User("shopp"); err == nil {
		t.Error("found without any database")
	}
	u.getent = []string{"no-such-getent"}
	if _, err = u.User("shopp"); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "no getent") {
		t.Errorf("without getent: %v", err)
	}
}

// A name never becomes an option or a second key of getent.
func TestWhatIsNoNameIsNeverAskedFor(t *testing.T) {
	trap := filepath.Join(t.TempDir(), "asked")
	u := hosts(t, "touch "+trap)
	for _, name := range []string{"", "-rf", "--help", "a b", "a:b", "a,b", "../x", "a\nb", "a\x00b", strings.Repeat("a", 257)} {
		if _, err := u.User(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("user %q: %v", name, err)
		}
		if _, err := u.Group(name); !errors.Is(err, ErrUnknown) {
			t.Errorf("group %q: %v", name, err)
		}
	}
	if _, err := os.Stat(trap); err == nil {
		t.Error("getent was asked")
	}
}

func TestAccountsOfTheFiles(t *testing.T) {
	u := hosts(t, "exit 9") // must not be needed
	want := Account{UID: 990, GID: 991, Groups: []uint32{991, 4, 110}, Name: "shop", Home: "/srv/shop"}
	for _, name := range []string{"shop", "990"} {
		if got, err := u.User(name); err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
	}
	if gid, err := u.Group("adm"); err != nil || gid != 4 {
		t.Errorf("adm: %d, %v", gid, err)
	}
	if gid, err := u.Group("4321"); err != nil || gid != 4321 {
		t.Errorf("4321: %d, %v", gid, err)
	}
	for _, bad := range []string{"odd"} {
		if a, err := u.User(bad); err == nil {
			t.Errorf("%s: %+v from a broken entry", bad, a)
		}
		if g, err := u.Group(bad); err == nil {
			t.Errorf("%s: %d from a broken entry", bad, g)
		}
	}
}

// A bare number never comes to mean root's group.
func TestUnknownNumberStandsForItself(t *testing.T) {
	u := hosts(t, nobodyKnows)
	if got, err := u.User("4321"); err != nil || got.UID != 4321 || got.GID != 4321 || got.Name != "4321" {
		t.Errorf("%+v, %v", got, err)
	}
	for _, n := range []string{"4294967295", "4294967296", "+1", "0x10"} {
		if got, err := u.User(n); err == nil {
			t.Errorf("%s: %+v", n, got)
		}
	}
}

func TestAccountsOfADirectoryService(t *testing.T) {
	u := hosts(t, `case "$1 $2" in
"passwd ada") echo "ada:*:7001:7002:Ada:/home/ada:/bin/sh";;
"group staff") echo "staff:*:7003:ada";;
"initgroups ada") echo "ada                  7003 7002 7004";;
"passwd odd2") echo "not an entry";;
*) exit 2;;
esac`)
	a, err := u.User("ada")
	want := Account{UID: 7001, GID: 7002, Groups: []uint32{7002, 7003, 7004}, Name: "ada", Home: "/home/ada"}
	if err != nil || !reflect.DeepEqual(a, want) {
		t.Fatalf("%+v, %v", a, err)
	}
	if gid, err := u.Group("staff"); err != nil || gid != 7003 {
		t.Errorf("staff: %d, %v", gid, err)
	}
	if _, err := u.User("odd2"); err == nil || errors.Is(err, ErrUnknown) {
		t.Errorf("an answer that is no entry: %v", err)
	}
}

// A directory service that is down is not the same as a user who is not there.
func TestBrokenDirectoryServiceIsNotAnUnknownUser(t *testing.T) {
	u := hosts(t, "echo 'ldap: cannot connect' >&2; exit 5")
	if _, err := u.User("ada"); err == nil || errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "ldap: cannot connect") {
		t.Errorf("%v", err)
	}
}

func TestThisHostHasRoot(t *testing.T) {
	a, err := (&Users{}).User("root")
	if err != nil || a.UID != 0 || a.GID != 0 {
		t.Errorf("%+v, %v", a, err)
	}
}

func TestBootClocks(t *testing.T) {
	id, err := BootID()
	if err != nil || len(id) != 36 {
		t.Errorf("boot id %q, %v", id, err)
	}
	if a, b := BootTime(), BootTime(); a <= 0 || b < a || b > 100*365*24*time.Hour {
		t.Errorf("boot time %v then %v", a, b)
	}
}

func write(t *testing.T, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
}
