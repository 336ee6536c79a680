package events_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/hermes-serverless/hermes/events"
)

// TestReasons reads the source: whoever adds a constant must not have to know of the list.
func TestReasons(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "execution.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var declared []string
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		reason, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		declared = append(declared, reason)
		return true
	})
	if got := events.Reasons(); len(declared) == 0 || !slices.Equal(got, declared) {
		t.Errorf("the reasons are %q, declared are %q", got, declared)
	}
}
