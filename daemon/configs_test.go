package daemon

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/backstay/backstay/api"
)

// A file that could not be put in force is no good file afterwards, and one that
// was good before is that as before.
func TestAFileThatIsNotInForceIsNoGoodOne(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	works, fails := configs{dir: dir, force: filepath.Join(dir, "force")}, configs{dir: dir, force: filepath.Join(dir, "no", "force")}
	keep := func(c configs, digest string, at time.Time) error {
		k := kept{Digest: digest, At: at}
		must(t, c.keepText(k, []byte("schema: 1\n")))
		return c.keep(k)
	}
	began := time.Now().Truncate(time.Second)
	must(t, keep(works, "aaaa", began))
	must(t, keep(works, "bbbb", began.Add(time.Minute)))
	for _, digest := range []string{"cccc", "aaaa"} {
		if err := keep(fails, digest, began.Add(time.Hour)); err == nil {
			t.Fatal("it was kept where there is no directory")
		}
	}
	all, err := works.all()
	must(t, err)
	if len(all) != 2 || all[0].Digest != "bbbb" || !all[1].At.Equal(began) {
		t.Errorf("%+v", all)
	}
}

// What a file names is read for those who may apply it, and for nobody else.
func TestNothingIsReadForWhoMayNotApply(t *testing.T) {
	t.Parallel()
	ask := api.ConfigAsk{Name: "x.yaml", Text: []byte(`schema: 1
services: { shop: { run: { exec: [/no/such/program], user: nobody, env_file: [/etc/passwd] } } }
`)}
	for uid, reads := range map[uint32]bool{12345: false, 0: true} {
		ask.By = api.Actor{UID: uid, PID: 1}
		if _, err := parseFor(ask); (err != nil) != reads {
			t.Errorf("uid %d: %v", uid, err)
		}
	}
	ask.By = api.Actor{}
	if _, err := parseFor(ask); err != nil {
		t.Errorf("nobody: %v", err)
	}
}
