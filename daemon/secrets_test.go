package daemon

import (
	"os"
	"strings"
	"testing"

	"github.com/backstay/backstay/api"
)

// secretFile is a service that prints a word, which is a secret.
const secretFile = `schema: 1
services:
  shop:
    run: { exec: [SELF, serve, "127.0.0.1:${port.http}", one], user: "USER", env: { WORD: "${secret.word}" } }
    ports: { http: auto }
    deploy: { min_ready: 100ms }
secrets: { word: { file: DIR/word } }
`

// A release is run with its secret, and gone back to, when the file does not have
// that any more.
func TestASecretThatIsTakenOutIsStillThatOfItsRelease(t *testing.T) {
	t.Parallel()
	n := newNode(t)
	must(t, os.WriteFile(n.dir+"/word", []byte("magic"), 0o600))
	n.write(secretFile)
	must(t, launchKeeper(t.Context(), n.opt))
	n.whole("shop", 1)
	before, _, _ := strings.Cut(secretFile, "secrets:")
	without := strings.Replace(before, `env: { WORD: "${secret.word}" }`, "env: { WORD: plain }", 1)
	done, err := n.client.Apply(t.Context(), api.ConfigAsk{Name: n.opt.File, Text: []byte(n.fill(without))})
	must(t, err)
	if w := done.Wants[0]; w.Outcome != "" || len(done.Notes) > 0 {
		t.Fatalf("%+v %q", w, done.Notes)
	}
	n.until("the new one", func(s api.Status) bool {
		d := s.Service("shop").Deploy
		return d.To == "shop@2" && d.State == api.DeployDone
	})
	_, err = n.client.Rollback(t.Context(), "shop", 0)
	must(t, err)
	n.until("the one before", func(s api.Status) bool {
		d := s.Service("shop").Deploy
		return d.To == "shop@1" && d.State == api.DeployDone
	})
	_, err = n.client.Scale(t.Context(), "shop", new(2))
	must(t, err)
	n.whole("shop", 2)
}

// A plan says what apply does although the text is the same.
func TestPlanOfTheSameFileSaysThatDownEnds(t *testing.T) {
	t.Parallel()
	n := start(t, versionFile)
	n.whole("shop", 1)
	must(t, n.client.Down(t.Context(), func(api.Progress) error { return nil }))
	text, err := os.ReadFile(n.opt.File)
	must(t, err)
	p, err := n.client.Plan(t.Context(), n.opt.File, text)
	must(t, err)
	if len(p.Changes) > 0 || len(p.Also) != 1 || !strings.HasPrefix(p.Also[0], "starts what down of ") {
		t.Errorf("%+v", p)
	}
	must(t, n.apply(versionFile))
	n.whole("shop", 1)
	if p, err = n.client.Plan(t.Context(), n.opt.File, text); err != nil || len(p.Also) > 0 {
		t.Errorf("%+v, %v", p, err)
	}
}
