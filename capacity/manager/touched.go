package manager

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/ephemeral"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// touched are those whose part in a plan may have changed with another object. Claims and
// volumes come and go with pods: to look at all pods and nodes for each would cost more
// than the plan.
type touched struct {
	// all is true if every pod is that was compiled with the help of other objects.
	all    bool
	claims map[types.NamespacedName]bool
	nodes  map[string]bool
	// volumes touch the claims that name them and the nodes that they are attached to.
	volumes map[string]bool
}

func newTouched() touched {
	return touched{claims: map[types.NamespacedName]bool{}, nodes: map[string]bool{}, volumes: map[string]bool{}}
}

// put takes over one of the objects that decide beside pods and nodes.
func (s *store) put(object any, gone bool) {
	switch o := object.(type) {
	case *storagev1.CSINode:
		s.touched.nodes[o.Name] = true
	case *storagev1.VolumeAttachment:
		s.touched.nodes[o.Spec.NodeName] = true
	case *corev1.PersistentVolumeClaim:
		s.touched.claims[client.ObjectKeyFromObject(o)] = true
	case *corev1.PersistentVolume:
		s.local, s.touched.volumes[o.Name] = nil, true
		s.touched.by(s.objects.Volume(o.Name))
		s.touched.by(o)
	case *corev1.Namespace, *storagev1.StorageClass, *storagev1.CSIDriver, *storagev1.CSIStorageCapacity:
		s.touched.all = true
	}
	s.objects.put(object, gone)
}

// by notes which claims could be bound to the volume, nil for none: any, or the one that it
// is kept for.
func (t *touched) by(pv *corev1.PersistentVolume) {
	switch {
	case pv == nil:
	case pv.Spec.ClaimRef != nil:
		t.claims[types.NamespacedName{Namespace: pv.Spec.ClaimRef.Namespace, Name: pv.Spec.ClaimRef.Name}] = true
	case fit.Free(pv):
		t.all = true
	}
}

// retouch brings up to date what was touched since the last time: what nodes' volume
// drivers say, and the classes of pods.
func (s *store) retouch() {
	t := s.touched
	if len(t.volumes) > 0 {
		for key, claim := range s.objects.claims {
			if t.volumes[claim.Spec.VolumeName] {
				t.claims[key] = true
			}
		}
		for node, on := range s.objects.attachments {
			for _, a := range on {
				if pv := a.Spec.Source.PersistentVolumeName; pv != nil && t.volumes[*pv] {
					t.nodes[node] = true
				}
			}
		}
	}
	for name := range t.nodes {
		n := s.nodes[name]
		if n == nil || n.object == nil {
			continue
		}
		if csi := s.objects.csi(name); !csi.Equal(n.node.CSI) {
			n.node.CSI, n.shown = csi, nil
		}
	}
	if t.all || len(t.claims) > 0 {
		s.daemons = nil
		for _, stored := range s.pods {
			if stored.pod != nil && stored.pod.Class.Looked && (t.all || t.uses(stored.object)) {
				s.reclassify(stored)
			}
		}
	}
	if t.all || len(t.claims)+len(t.nodes)+len(t.volumes) > 0 {
		s.touched = newTouched()
	}
}

// uses reports whether the pod uses one of the claims.
func (t *touched) uses(pod *corev1.Pod) bool {
	for i := range pod.Spec.Volumes {
		v, name := &pod.Spec.Volumes[i], ""
		switch {
		case v.PersistentVolumeClaim != nil:
			name = v.PersistentVolumeClaim.ClaimName
		case v.Ephemeral != nil:
			name = ephemeral.VolumeClaimName(pod, v)
		}
		if name != "" && t.claims[types.NamespacedName{Namespace: pod.Namespace, Name: name}] {
			return true
		}
	}
	return false
}
