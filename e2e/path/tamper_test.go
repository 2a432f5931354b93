package path

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/e2e/rig"
	"github.com/tidegate-k3s/tidegate/manifests"
)

// A fence that the API server does not enforce, or that it enforces in other
// words than Tidegate's, deletes nothing, and Tidegate says so.
func TestFenceThatNobodyEnforces(t *testing.T) {
	w := newWorld(t, "tamper")
	admission := w.Client.AdmissionregistrationV1()
	for name, tamper := range map[string]func() error{
		"the policy deleted": func() error {
			return admission.ValidatingAdmissionPolicies().Delete(t.Context(), api.FencePolicy, metav1.DeleteOptions{})
		},
		"its binding deleted": func() error {
			return admission.ValidatingAdmissionPolicyBindings().Delete(t.Context(), api.FencePolicy, metav1.DeleteOptions{})
		},
		"its message altered": func() error {
			policy, err := admission.ValidatingAdmissionPolicies().Get(t.Context(), api.FencePolicy, metav1.GetOptions{})
			if err != nil {
				return err
			}
			policy.Spec.Validations[0].MessageExpression = "'tidegate-fence: closed'"
			_, err = admission.ValidatingAdmissionPolicies().Update(t.Context(), policy, metav1.UpdateOptions{})
			return err
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{t: t, Rig: w.Rig, pool: w.pool, namespace: w.namespace, since: w.since}
			p := own(t, rig.ProcessOptions{})
			ready(t, p)
			t.Cleanup(w.mendFence)
			if err := tamper(); err != nil {
				t.Fatal(err)
			}
			w.submit(w.pod("work", "3", time.Second))
			w.eventually("the log says that a fence is not proved", func() error {
				if !strings.Contains(p.Log(), "a fence could not be proved, so nothing is deleted: look at ValidatingAdmissionPolicy tidegate-fence and its binding") {
					return errors.New("it does not")
				}
				return nil
			})
			if code, text := p.Check(t.Context(), "fence"); code == http.StatusOK || !strings.Contains(text, "could not be proved") {
				t.Errorf("/readyz/fence: %d %s", code, text)
			}
			w.event("default", w.nodes()[0].Name, "FenceUnproved", "is ValidatingAdmissionPolicy tidegate-fence with its binding in place?")
			w.node("empty") // marked again, but not fenced
			if n := w.count(emulator.InstanceDeleting); n != 0 {
				t.Errorf("%d machines were deleted", n)
			}
			w.delete("work")
			w.mendFence()
		})
	}
	tidegate(t)
	w.atRest(1)
}

// mendFence applies the fence's policy and binding as they should be.
func (w *world) mendFence() {
	w.t.Helper()
	text, err := manifests.FS.ReadFile("core/fence.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	if out, err := w.Cluster.Apply(w.t.Context(), string(text)); err != nil && w.t.Context().Err() == nil {
		w.t.Fatalf("%v\n%s", err, out)
	}
}
