package doctor

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/cli/layout"
)

func TestWrite(t *testing.T) {
	var out strings.Builder
	findings := []Finding{
		{Check: "kubernetes", Verdict: OK, Detail: "v1.37.2"},
		{Check: "fence", Verdict: Failed, Detail: "ValidatingAdmissionPolicyBinding tidegate-fence is missing, so no machine is ever deleted", Fix: withCertManager.reinstall()},
	}
	Write(&out, findings, layout.Style{Width: 100})
	want := []string{
		"CHECK       VERDICT  FINDING",
		"kubernetes  ok       v1.37.2",
		"fence       failed   ValidatingAdmissionPolicyBinding tidegate-fence is missing, so no machine is",
		"                     ever deleted",
		"                     Fix: apply the manifests again, or your own kustomization of them: kubectl",
		"                     apply -k manifests",
		"",
	}
	if diff := cmp.Diff(want, strings.Split(out.String(), "\n")); diff != "" {
		t.Errorf("text (-want +got):\n%s", diff)
	}
	if err := Outcome(findings); err == nil || err.Error() != "1 of 2 checks failed: see the fixes above" {
		t.Errorf("outcome %v", err)
	}
	if err := Outcome(findings[:1]); err != nil {
		t.Errorf("outcome %v, want none", err)
	}
}
