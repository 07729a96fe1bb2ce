package daemon

import (
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
	"github.com/backstay/backstay/internal/hosttest"
)

// What becomes of a file is decided by the deploys that it brings about, however
// soon they are over.
func TestADeployThatIsOverAtOnceIsThatOfItsFile(t *testing.T) {
	t.Parallel()
	file := gapFile(hosttest.FreePort(t), "{ to: shop }", "shop")
	n := start(t, file)
	n.whole("shop", 1)
	first := n.status().Service("shop").Deploy.ID
	bad := strings.Replace(file, `exec: [SELF, serve, "127.0.0.1:${port.http}", shop]`, `exec: [/bin/false, BAD]`, 1)
	for _, word := range []string{"one", "two", "three"} {
		text := n.fill(strings.Replace(bad, "BAD", word, 1))
		done, err := n.client.Apply(t.Context(), api.ConfigAsk{Name: n.opt.File, Text: []byte(text)})
		must(t, err)
		w := done.Wants[0]
		if w.After != first {
			t.Errorf("decided after %s, want %s", w.After, first)
		}
		for w.Outcome == "" {
			w, err = n.client.Outcome(t.Context(), w)
			must(t, err)
		}
		if w.Outcome != api.OutcomeRolledBack || w.Deploy == nil || w.Deploy.State != api.DeployRolledBack {
			t.Errorf("%s: %+v", word, w)
		}
		first = w.Deploy.ID
	}
}
