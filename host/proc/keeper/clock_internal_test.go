package keeper

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"path/filepath"
	"strings"
	"testing"
)

// TestNothingIsTimedByTheWallClock reads our own source: the wall clock may jump
// by a day, so it is only written down. Whoever waits, or asks how long something
// took, does so by the clock that counts from the boot.
func TestNothingIsTimedByTheWallClock(t *testing.T) {
	stamps := map[string]bool{"Wall": true, "Say": true}
	// Who writes a moment down. What stands here has been looked at: it goes into a
	// record, an event or a mark, and nothing is done at a time that comes of it.
	writers := map[string]bool{
		"newKeeper": true, "afterBoot": true, "adoptRun": true, "begun": true, "running": true, "tell": true, "exitOf": true, "code": true, "mark": true,
	}
	var files []string
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	seen, wrote := 0, map[string]bool{}
	for _, name := range files {
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, name, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range f.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			ast.Inspect(fn, func(n ast.Node) bool {
				switch e := n.(type) {
				case *ast.SelectorExpr:
					if x, ok := e.X.(*ast.Ident); !ok || x.Name != "time" || e.Sel.Name != "Now" && e.Sel.Name != "Since" && e.Sel.Name != "Until" {
						return true
					}
					seen++
					if !stamps[fn.Name.Name] {
						t.Errorf("%s: %s asks for the wall clock", fset.Position(e.Pos()), fn.Name.Name)
					}
				case *ast.CallExpr:
					if isWall(e) {
						wrote[fn.Name.Name] = true
					}
					if isWall(e) && !writers[fn.Name.Name] {
						t.Errorf("%s: %s is not among those that write a moment down", fset.Position(e.Pos()), fn.Name.Name)
					}
				case *ast.BinaryExpr:
					if e.Op != token.OR && (isWall(e.X) || isWall(e.Y)) {
						t.Errorf("%s: %s reckons with the wall clock", fset.Position(e.Pos()), fn.Name.Name)
					}
				}
				return true
			})
		}
	}
	if !maps.Equal(wrote, writers) {
		t.Errorf("moments are written down by %v, want %v", wrote, writers)
	}
	if seen < len(stamps) {
		t.Errorf("the wall clock is asked for in %d places: this test looks for something else", seen)
	}
}

func isWall(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok {
		return false
	}
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name == "Wall"
	case *ast.SelectorExpr:
		return f.Sel.Name == "Wall"
	}
	return false
}
