package e2e

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/backstay/backstay/demo"
)

// The demonstration keeps every promise it makes, and ends with an error where
// it does not.
func TestDemoKeepsItsPromises(t *testing.T) {
	report := filepath.Join(t.TempDir(), "report.json")
	ctx, cancel := context.WithTimeout(context.Background(), 5*hang)
	defer cancel()
	cmd := exec.CommandContext(ctx, built(t, "backstay"), "demo", "--report", report)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("demo: %v\n%s", err, out)
	}
	t.Logf("%s", out)
	text, err := os.ReadFile(report)
	if err != nil {
		t.Fatal(err)
	}
	var r demo.Report
	if err := json.Unmarshal(text, &r); err != nil {
		t.Fatal(err)
	}
	if r.Promises < 10 || r.Kept != r.Promises {
		t.Errorf("%d of %d promises kept", r.Kept, r.Promises)
	}
	for _, a := range r.Acts[1:] {
		if a.Sent == 0 || a.Failed > a.Promised {
			t.Errorf("act %d, %s: %d sent, %d failed, promised at most %d", a.Number, a.Title, a.Sent, a.Failed, a.Promised)
		}
	}
	if r.Acts[0].Failed == 0 {
		t.Error("the control run saw no failure")
	}
}
