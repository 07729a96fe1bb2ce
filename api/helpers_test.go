package api_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

func serve(h http.Handler, method, target, body string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(method, target, strings.NewReader(body)))
	return w
}

// usedCodes returns each code that a composite literal of a Problem has below
// root, or a room's function problem is called with, and where. Codes of a Mistake
// are config's own.
func usedCodes(t *testing.T, root string) map[string]string {
	t.Helper()
	used := map[string]string{}
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != root) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		codesOf(t, path, used)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return used
}

func codesOf(t *testing.T, path string, used map[string]string) {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, path, nil, 0)
	if err != nil {
		t.Logf("skip %s: %v", path, err) // another test's matter
		return
	}
	ast.Inspect(f, func(n ast.Node) bool {
		note := func(e ast.Expr) {
			if v, ok := e.(*ast.BasicLit); ok && v.Kind == token.STRING {
				code, _ := strconv.Unquote(v.Value)
				used[code] = files.Position(v.Pos()).String()
			}
		}
		if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 1 {
			if f, ok := call.Fun.(*ast.Ident); ok && f.Name == "problem" {
				note(call.Args[0])
			}
		}
		lit, ok := n.(*ast.CompositeLit)
		if !ok || !isProblem(lit.Type) {
			return true
		}
		for _, e := range lit.Elts {
			kv, ok := e.(*ast.KeyValueExpr)
			if key, is := kv.Key.(*ast.Ident); !ok || !is || key.Name != "Code" {
				continue
			}
			note(kv.Value)
		}
		return true
	})
}

// isProblem reports whether an expression is the type Problem of the root package.
func isProblem(e ast.Expr) bool {
	s, ok := e.(*ast.SelectorExpr)
	return ok && s.Sel.Name == "Problem"
}

// loud fails a test for each error in a log.
type loud struct{ t *testing.T }

func (l *loud) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelError}))
}

// Write implements [io.Writer].
func (l *loud) Write(b []byte) (int, error) {
	l.t.Errorf("logged: %s", b)
	return len(b), nil
}
