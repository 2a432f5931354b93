package manager

import (
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/tidegate-k3s/tidegate/capacity"
	"github.com/tidegate-k3s/tidegate/capacity/fit"
)

// localPath is k3s' default storage class.
func localPath() *storagev1.StorageClass {
	return &storagev1.StorageClass{
		ObjectMeta: metav1.ObjectMeta{Name: "local-path"}, Provisioner: "rancher.io/local-path",
		VolumeBindingMode: new(storagev1.VolumeBindingWaitForFirstConsumer),
	}
}

// withVolume is a waiting pod and its claim for a local volume, which is made for it if
// it is its own.
func withVolume(name string, own bool) (*corev1.Pod, *corev1.PersistentVolumeClaim) {
	pod := gatedPod(func(p *corev1.Pod) {
		p.Name, p.UID = name, types.UID(name)
		source := corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name + "-data"}}
		if own {
			source = corev1.VolumeSource{Ephemeral: &corev1.EphemeralVolumeSource{}}
		}
		p.Spec.Volumes = []corev1.Volume{{Name: "data", VolumeSource: source}}
	})
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: name + "-data", UID: types.UID(name)},
		Spec:       corev1.PersistentVolumeClaimSpec{StorageClassName: new("local-path")},
	}
	if own {
		claim.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(&pod, corev1.SchemeGroupVersion.WithKind("Pod"))}
	}
	return &pod, claim
}

// Pods that each have a volume made for them alone are like each other, once all is known
// of them: they are judged once, and as many are planned for as a Job will have.
func TestPodsWithVolumesOfTheirOwnAreAlike(t *testing.T) {
	for name, tc := range map[string]struct {
		own    bool
		change func(*corev1.PersistentVolumeClaim)
		want   int
	}{
		"volumes of their own":      {own: true, want: 1},
		"claims that may be shared": {want: 3},
		"one is made elsewhere": {own: true, change: func(c *corev1.PersistentVolumeClaim) {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, "volume.kubernetes.io/selected-node", "n1")
		}, want: 2},
		"one is another pod's claim": {own: true, change: func(c *corev1.PersistentVolumeClaim) { c.OwnerReferences = nil }, want: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(time.Now)
			s.set(localPath())
			for i := range 3 {
				pod, claim := withVolume(fmt.Sprintf("p%d", i), tc.own)
				if i == 2 && tc.change != nil {
					tc.change(claim)
				}
				s.set(pod)
				s.set(claim)
			}
			var snapshot capacity.Snapshot
			s.fill(&snapshot, nobody)
			classes := map[*fit.Class]bool{}
			for _, p := range snapshot.Waiting {
				classes[p.Class] = true
			}
			if len(classes) != tc.want {
				t.Errorf("%d classes, want %d", len(classes), tc.want)
			}
		})
	}
}

// What is known of a pod with a claim does not grow with the volumes that others have, or
// might have: with some thousands of each that would be more than there is memory.
func TestClassesAreSmallHoweverManyVolumesThereAre(t *testing.T) {
	for name, change := range map[string]func(*corev1.PersistentVolume){
		"in use": nil,
		"free":   func(pv *corev1.PersistentVolume) { pv.Spec.ClaimRef, pv.Status.Phase = nil, corev1.VolumeAvailable },
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(time.Now)
			s.set(localPath())
			for i := range 1000 {
				s.set(localVolume("n1", func(pv *corev1.PersistentVolume) {
					pv.Name, pv.Spec.StorageClassName = fmt.Sprintf("pv-%d", i), "local-path"
					if change != nil {
						change(pv)
					}
				}))
			}
			pod, claim := withVolume("p", false)
			s.set(pod)
			s.set(claim)
			var snapshot capacity.Snapshot
			s.fill(&snapshot, nobody)
			if size := len(snapshot.Waiting[0].Class.ID); size > 4096 {
				t.Errorf("the key of the pod's class has %d bytes, want a few hundred", size)
			}
		})
	}
}

// What a DaemonSet's pods take of a new machine counts also if they have a volume.
func TestDaemonsWithVolumesCount(t *testing.T) {
	s := newStore(time.Now)
	set := &appsv1.DaemonSet{ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: "collector", UID: "uid-set"}}
	set.Spec.Template.Spec = corev1.PodSpec{
		Containers: []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("2")}}}},
		Volumes:    []corev1.Volume{{Name: "data", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "data"}}}},
	}
	claim := &corev1.PersistentVolumeClaim{
		ObjectMeta: metav1.ObjectMeta{Namespace: "logs", Name: "data", Annotations: map[string]string{"pv.kubernetes.io/bind-completed": "yes"}},
		Spec:       corev1.PersistentVolumeClaimSpec{VolumeName: "share"},
	}
	share := &corev1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: "share"}}
	takes := func() int64 {
		var snapshot capacity.Snapshot
		s.fill(&snapshot, nobody)
		return (&fit.Shape{}).Overhead(snapshot.Daemons, "").MilliCPU
	}
	s.set(set)
	if got := takes(); got != 0 {
		t.Errorf("without its claim it takes %d of a new machine's CPU, want nothing", got)
	}
	s.set(claim)
	s.set(share)
	if got := takes(); got != 2000 {
		t.Errorf("it takes %d of a new machine's CPU, want 2000", got)
	}
}
