package sim

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/capacity/sim/cluster"
)

// operate lets an operator forbid to retire nodes for a while, and ask for
// others to be retired, restarted or reimaged.
func (w *World) operate() {
	r := w.Loop.Random
	w.Loop.Every(time.Minute, func() bool {
		if time.Since(w.begin) > trouble {
			return false
		}
		for _, node := range cluster.All[*corev1.Node](w.Cluster.Store) {
			_, kept := node.Annotations[api.KeepAnnotation]
			switch {
			case kept && r.IntN(3) == 0:
				w.annotate(node, api.KeepAnnotation, "")
			case !kept && r.IntN(15) == 0:
				w.annotate(node, api.KeepAnnotation, "true")
			case r.IntN(30) == 0:
				w.annotate(node, api.RetireAnnotation, []string{"true", string(api.FateRestart), string(api.FateReimage)}[r.IntN(3)])
			}
		}
		return true
	})
}

// annotate sets an annotation of the node, or removes it if the value is empty.
func (w *World) annotate(node *corev1.Node, key, value string) {
	node = node.DeepCopy()
	metav1.SetMetaDataAnnotation(&node.ObjectMeta, key, value)
	if value == "" {
		delete(node.Annotations, key)
	}
	_ = w.Cluster.Store.Update(byUser, node) // it was read just now
}

// allowAll takes back what the operator forbade.
func (w *World) allowAll() {
	for _, node := range cluster.All[*corev1.Node](w.Cluster.Store) {
		w.annotate(node, api.KeepAnnotation, "")
	}
}
