package path

import (
	"fmt"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// An image with which no machine gets ready costs a few machines and not the budget,
// and the pods that wait say what is wrong.
func TestBrokenImage(t *testing.T) {
	w := newWorld(t, "broken")
	t.Parallel()
	p := tidegate(t)
	failure := &emulator.LateFailure{After: metav1.Duration{Duration: time.Second}, KeepFailed: true, Error: emulator.Error{
		Status: 409, Code: "OSProvisioningTimedOut", Message: "OS Provisioning did not finish in the allotted time.",
	}}
	w.Azure.Cloud().AddFaults(emulator.Fault{Operation: writeAction, Set: w.pool, Effect: emulator.Effect{Late: failure}})
	w.job("frames", 4, w.pod("", "5", 0))                    // a machine for each
	w.within(2*patience, "all pods are told", func() error { // once Azure's own answer is half a minute old
		list, err := w.Client.CoreV1().Pods(w.namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			return err
		}
		if len(list.Items) != 4 {
			return fmt.Errorf("%d pods", len(list.Items))
		}
		for i := range list.Items {
			if c := condition(&list.Items[i]); c.Reason != "MachinesDoNotJoin" {
				return fmt.Errorf("pod %s waits for %s: %s", list.Items[i].Name, c.Reason, c.Message)
			}
		}
		return nil
	})
	if !reports(t, p, fmt.Sprintf("tidegate_pool_refused{pool=%q} 1", w.pool)) {
		t.Error("the metrics do not say that nothing is bought")
	}
	if n := w.count(emulator.InstanceCreated); n != 4 {
		t.Errorf("%d machines were bought, want 4", n)
	}
}
