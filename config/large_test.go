package config_test

import (
	"fmt"
	"strings"
	"testing"
)

// TestTheLargestFilesEnd: one megabyte of anything is answered in a time that
// does not grow with its square. Without the bounds of the reader some of these
// take minutes.
func TestTheLargestFilesEnd(t *testing.T) {
	for _, unit := range []string{"a: [b]\n", "*a ", "? a\n"} {
		t.Run(fmt.Sprintf("%q", unit), func(t *testing.T) {
			t.Parallel()
			judge(t, []byte("schema: 1\n"+strings.Repeat(unit, (1<<20-20)/len(unit))))
		})
	}
}

// TestALargeFileOfManyServicesLoads, all in one ring short of its last link.
func TestALargeFileOfManyServicesLoads(t *testing.T) {
	const n = 1000
	var b strings.Builder
	b.WriteString("schema: 1\nservices:\n")
	for i := range n {
		fmt.Fprintf(&b, "  s%d: { run: { exec: [/usr/bin/shop, \"${port.http}\"], user: shop }, ports: { http: auto }, depends_on: { s%d: ready } }\n", i, i+1)
	}
	fmt.Fprintf(&b, "  s%d: { run: { exec: [/usr/bin/shop], user: shop } }\n", n)
	if e := judge(t, []byte(b.String())); e != nil {
		t.Fatal(e)
	}
	ring := strings.Replace(b.String(), "  s1000: {", "  s1000: { depends_on: { s0: started },", 1)
	if e := judge(t, []byte(ring)); e == nil || len(e.Found) != 1 || e.Found[0].Code != "waits_for_itself" {
		t.Errorf("%v", e)
	}
}

// TestOnlySoManyMistakesAreTold, and how many more there are.
func TestOnlySoManyMistakesAreTold(t *testing.T) {
	text := "schema: 1\nservices:\n" + strings.Repeat("  shop: { x: 1 }\n", 1500)
	e := judge(t, []byte(text))
	if e == nil || len(e.Found) != 500 || e.More < 900 || !strings.Contains(e.Error(), fmt.Sprintf("and %d more", e.More)) {
		t.Errorf("%v", e)
	}
}
