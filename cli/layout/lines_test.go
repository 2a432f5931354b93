package layout

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLines(t *testing.T) {
	var out strings.Builder
	lines := Lines{&out, 12}
	fmt.Fprintln(lines, "short")
	fmt.Fprint(lines, "one two three four\n\n    five six seven\n")
	want := "short\none two\nthree four\n\n    five six\n    seven\n"
	if diff := cmp.Diff(want, out.String()); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
}
