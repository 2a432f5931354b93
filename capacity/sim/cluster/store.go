package cluster

import (
	"fmt"
	"reflect"
	"strconv"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// kinds are what the cluster knows.
var kinds = []client.Object{
	&corev1.Pod{}, &corev1.Node{}, &corev1.ConfigMap{}, &corev1.Namespace{},
	&batchv1.Job{}, &appsv1.DaemonSet{}, &discoveryv1.EndpointSlice{},
	&corev1.PersistentVolume{}, &corev1.PersistentVolumeClaim{}, &storagev1.StorageClass{}, &storagev1.CSIDriver{},
	&storagev1.CSIStorageCapacity{}, &storagev1.CSINode{}, &storagev1.VolumeAttachment{},
}

var kindOf = func() map[schema.GroupVersionResource]schema.GroupVersionKind {
	m := map[schema.GroupVersionResource]schema.GroupVersionKind{}
	for _, o := range kinds {
		gvr, _ := meta.UnsafeGuessKindToResource(kind(o))
		m[gvr] = kind(o)
	}
	return m
}()

// Kinds returns the kinds of object that the cluster knows.
func Kinds() []schema.GroupVersionKind {
	var all []schema.GroupVersionKind
	for _, o := range kinds {
		all = append(all, kind(o))
	}
	return all
}

// known are the kinds by the objects' types.
var known = func() map[reflect.Type]schema.GroupVersionKind {
	m := map[reflect.Type]schema.GroupVersionKind{}
	for _, o := range kinds {
		m[reflect.TypeOf(o)] = kindInScheme(o)
	}
	return m
}()

func kind(o runtime.Object) schema.GroupVersionKind {
	if gvk, ok := known[reflect.TypeOf(o)]; ok {
		return gvk
	}
	return kindInScheme(o) // a list's
}

func kindInScheme(o runtime.Object) schema.GroupVersionKind {
	gvks, _, err := clientgoscheme.Scheme.ObjectKinds(o)
	if err != nil {
		panic(fmt.Sprintf("the simulated cluster does not know %T: %v", o, err))
	}
	return gvks[0]
}

// key names an object.
type key struct {
	kind string
	types.NamespacedName
}

func keyOf(o client.Object) key {
	return key{kind(o).Kind, client.ObjectKeyFromObject(o)}
}

// Event is one change of one object. Old is nil for a new object, New for one
// that is gone.
type Event struct {
	Old, New client.Object
	// By is who made the change.
	By string
}

// Object is the object that the event is about, in its last state.
func (e Event) Object() client.Object {
	if e.New != nil {
		return e.New
	}
	return e.Old
}

// Store is the datastore behind the API servers. Its objects are never changed
// in place: what it returns is to be copied before it is.
type Store struct {
	version int64
	uids    int64
	objects map[key]client.Object
	lists   map[string]list // by kind
	watches []func(Event)
}

func newStore() *Store {
	return &Store{objects: map[key]client.Object{}, lists: map[string]list{}}
}

// Watch calls f after every change, at once.
func (s *Store) Watch(f func(Event)) { s.watches = append(s.watches, f) }

// Get returns the object of that type and name, nil if there is none.
func Get[T client.Object](s *Store, namespace, name string) T {
	var like T
	o, _ := s.objects[key{kind(like).Kind, types.NamespacedName{Namespace: namespace, Name: name}}].(T)
	return o
}

// All returns the objects of the type, in the order of their names.
func All[T client.Object](s *Store) []T {
	var like T
	return all[T](s.lists[kind(like).Kind])
}

// Create adds the object, which is the store's from then on.
func (s *Store) Create(by string, o client.Object) error {
	k := keyOf(o)
	if s.objects[k] != nil {
		return apierrors.NewAlreadyExists(schema.GroupResource{Resource: k.kind}, k.Name)
	}
	s.uids++
	o.SetUID(types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", s.uids)))
	// The API knows whole seconds only.
	o.SetCreationTimestamp(metav1.NewTime(time.Now().Truncate(time.Second)))
	s.put(k, o)
	s.tell(Event{New: o, By: by})
	return nil
}

// Update replaces the object that o was copied from, if it has not changed
// since.
func (s *Store) Update(by string, o client.Object) error {
	k := keyOf(o)
	old := s.objects[k]
	switch {
	case old == nil || old.GetUID() != o.GetUID():
		return notFound(k)
	case old.GetResourceVersion() != o.GetResourceVersion():
		return apierrors.NewConflict(schema.GroupResource{Resource: k.kind}, k.Name, fmt.Errorf("the object has been modified"))
	}
	s.put(k, o)
	s.tell(Event{Old: old, New: o, By: by})
	return nil
}

// Delete removes the object, if it is still there.
func (s *Store) Delete(by string, o client.Object) error {
	k := keyOf(o)
	old := s.objects[k]
	if old == nil || old.GetUID() != o.GetUID() {
		return notFound(k)
	}
	s.version++
	delete(s.objects, k)
	s.lists[k.kind] = s.lists[k.kind].without(old)
	s.tell(Event{Old: old, By: by})
	return nil
}

func (s *Store) put(k key, o client.Object) {
	s.version++
	o.SetResourceVersion(strconv.FormatInt(s.version, 10))
	o.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	s.objects[k] = o
	s.lists[k.kind] = s.lists[k.kind].with(o)
}

func (s *Store) tell(e Event) {
	for _, watch := range s.watches {
		watch(e)
	}
}

func notFound(k key) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: k.kind}, k.Name)
}
