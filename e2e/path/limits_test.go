package path

import (
	"cmp"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// A pool keeps as many machines as its minimum says, and no more.
func TestMinimum(t *testing.T) {
	w := newWorld(t, "least")
	t.Parallel()
	tidegate(t)
	w.node("adopted") // without any demand
	w.submit(w.pod("first", "5", 5*time.Second))
	w.submit(w.pod("second", "5", 5*time.Second))
	w.phase("first", corev1.PodSucceeded)
	w.phase("second", corev1.PodSucceeded)
	w.eventually("the machine that the minimum does not need is gone", func() error {
		if n := w.count(emulator.InstanceDeleted); n != 1 {
			return fmt.Errorf("%d machines were deleted", n)
		}
		return nil
	})
	w.node("adopted") // the one that stays
}

// A pool that never had a machine, and whose tags do not say what one offers,
// is known by its VM size.
func TestFromZeroByVMSize(t *testing.T) {
	w := newWorld(t, "bysize")
	t.Parallel()
	tidegate(t)
	w.submit(w.pod("wide", "30", time.Second))
	w.waits("wide", "NoPoolFits", "requests 30 cpu; the largest machine of any pool offers")
	w.submit(w.pod("work", "7", time.Second))
	w.phase("work", corev1.PodSucceeded)
	w.atRest(1)
}

// A node that somebody wants to keep leaves its retirement, stays, and goes
// when it is no longer kept.
func TestKeep(t *testing.T) {
	w := newWorld(t, "keep")
	t.Parallel()
	tidegate(t)
	w.submit(w.pod("work", "3", time.Second))
	node := w.node("empty")
	w.annotate(node.Name, api.KeepAnnotation, `"true"`)
	w.stays()
	w.annotate(node.Name, api.KeepAnnotation, "null")
	w.atRest(1)
}

// A node with the data of a volume on its disk stays, and goes with that volume.
func TestLocalVolume(t *testing.T) {
	w := newWorld(t, "disk")
	t.Parallel()
	tidegate(t)
	w.submit(w.pod("work", "3", 3*time.Second))
	w.phase("work", corev1.PodRunning)
	node, volumes := w.nodes()[0], w.Client.CoreV1().PersistentVolumes()
	volume, err := volumes.Create(t.Context(), &corev1.PersistentVolume{
		ObjectMeta: metav1.ObjectMeta{Name: "e2e-disk"},
		Spec: corev1.PersistentVolumeSpec{
			Capacity:                      corev1.ResourceList{corev1.ResourceStorage: resource.MustParse("1Gi")},
			AccessModes:                   []corev1.PersistentVolumeAccessMode{corev1.ReadWriteOnce},
			PersistentVolumeReclaimPolicy: corev1.PersistentVolumeReclaimRetain,
			PersistentVolumeSource:        corev1.PersistentVolumeSource{Local: &corev1.LocalVolumeSource{Path: "/data"}},
			ClaimRef:                      &corev1.ObjectReference{Namespace: w.namespace, Name: "data", UID: "removed"},
			NodeAffinity: &corev1.VolumeNodeAffinity{Required: &corev1.NodeSelector{NodeSelectorTerms: []corev1.NodeSelectorTerm{{
				MatchExpressions: []corev1.NodeSelectorRequirement{{
					Key: corev1.LabelHostname, Operator: corev1.NodeSelectorOpIn, Values: []string{cmp.Or(node.Labels[corev1.LabelHostname], node.Name)},
				}},
			}}}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	volume.Status.Phase = corev1.VolumeReleased // its claim is gone, its data are not
	if _, err := volumes.UpdateStatus(t.Context(), volume, metav1.UpdateOptions{}); err != nil && !apierrors.IsConflict(err) {
		t.Fatal(err)
	}
	w.phase("work", corev1.PodSucceeded)
	w.stays()
	if err := volumes.Delete(t.Context(), volume.Name, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	w.atRest(1)
}

// stays makes sure that the pool's node is not retired for longer than the pool's idle
// time.
func (w *world) stays() {
	w.t.Helper()
	w.node("adopted")
	until := time.Now().Add(5 * time.Second)
	w.eventually("the time has passed", func() error {
		if got := state(w.node("adopted")); got != "adopted" {
			w.t.Fatalf("the node that is kept is %s\n%s", got, logs())
		}
		if left := time.Until(until); left > 0 {
			return fmt.Errorf("%s are left", left)
		}
		return nil
	})
	if n := w.count(emulator.InstanceDeleting); n != 0 {
		w.t.Errorf("%d machines were deleted", n)
	}
}

func (w *world) annotate(node, key, value string) {
	w.t.Helper()
	patch := fmt.Sprintf(`{"metadata":{"annotations":{%q:%s}}}`, key, value)
	if _, err := w.Client.CoreV1().Nodes().Patch(w.t.Context(), node, types.MergePatchType, []byte(patch), metav1.PatchOptions{}); err != nil {
		w.t.Fatal(err)
	}
}

// Of two pools each pod gets the cheaper one that holds it.
func TestTwoPools(t *testing.T) {
	small, large := newWorld(t, "twosmall"), newWorld(t, "twolarge")
	t.Parallel()
	tidegate(t)
	for _, test := range []struct{ name, cpu, pool string }{
		{"wide", "12", "twolarge"},
		{"narrow", "5", "twosmall"}, // the large machine has less left
	} {
		p := small.pod(test.name, test.cpu, 5*time.Second)
		delete(p.Annotations, api.PoolAnnotation)
		p.Spec.NodeSelector = map[string]string{twoLabel: "yes"}
		small.submit(p)
		if p = small.phase(test.name, corev1.PodRunning); !strings.HasPrefix(p.Spec.NodeName, test.pool) {
			t.Errorf("pod %s runs on %s, want a machine of %s", test.name, p.Spec.NodeName, test.pool)
		}
	}
	small.phase("wide", corev1.PodSucceeded)
	small.phase("narrow", corev1.PodSucceeded)
	small.atRest(1)
	large.atRest(1)
}
