package path

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// writeKinds returns the kinds of write that Tidegate's source has: what the
// capacity manager passes to its write method, which has the failpoints.
func writeKinds(t *testing.T) []string {
	t.Helper()
	kinds := map[string]bool{}
	inspect(t, "../../capacity/manager", func(n ast.Node) {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return
		}
		if method, ok := call.Fun.(*ast.SelectorExpr); !ok || method.Sel.Name != "write" || len(call.Args) != 2 {
			return
		}
		if kind, ok := call.Args[0].(*ast.BasicLit); ok {
			kinds[unquote(t, kind)] = true
		}
	})
	inspect(t, "../../capacity", func(n ast.Node) {
		constant, ok := n.(*ast.ValueSpec)
		if !ok {
			return
		}
		if typed, ok := constant.Type.(*ast.Ident); ok && typed.Name == "StepKind" {
			kinds[unquote(t, constant.Values[0].(*ast.BasicLit))] = true
		}
	})
	delete(kinds, "prove") // a step that writes nothing: its bindings are dry runs
	return slices.Sorted(maps.Keys(kinds))
}

// inspect visits the syntax of the folder's Go files but for its tests.
func inspect(t *testing.T, dir string, visit func(ast.Node)) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no source in %s: %v", dir, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		syntax, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(syntax, func(n ast.Node) bool {
			visit(n)
			return true
		})
	}
}

func unquote(t *testing.T, literal *ast.BasicLit) string {
	t.Helper()
	text, err := strconv.Unquote(literal.Value)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
