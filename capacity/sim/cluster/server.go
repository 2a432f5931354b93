package cluster

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Server is one API server. It reads and writes the datastore itself; what
// its admission knows of the nodes comes by a watch of its own.
type Server struct {
	cluster *Cluster
	// Host is its address, host and port.
	Host  string
	nodes *Informer
}

// request is what a call to the API server asks for.
type request struct {
	by     string
	verb   string
	gvk    schema.GroupVersionKind
	name   types.NamespacedName
	sub    string
	dryRun bool
	http   *http.Request
	body   []byte
}

// Serve answers one request of the named client, and carries it out at once.
func (s *Server) Serve(by string, r *http.Request, body []byte) (status int, contentType string, answer []byte) {
	status = http.StatusOK
	if r.Method == http.MethodPost {
		status = http.StatusCreated
	}
	req, err := parse(r)
	var result runtime.Object
	if err == nil {
		req.by, req.body = by, body
		result, err = s.answer(req)
	}
	if err != nil {
		refusal, ok := err.(apierrors.APIStatus)
		if !ok {
			refusal = apierrors.NewBadRequest(err.Error())
		}
		text := refusal.Status()
		text.Kind, text.APIVersion = "Status", "v1"
		status, result = int(text.Code), &text
	}
	contentType, answer = encode(result, r.Header.Get("Accept"))
	return status, contentType, answer
}

// parse reads the path of a request.
// Source: Kubernetes documentation, "Kubernetes API Concepts", resource URIs.
func parse(r *http.Request) (request, error) {
	req := request{verb: r.Method, http: r, dryRun: r.URL.Query().Get("dryRun") == metav1.DryRunAll}
	parts := strings.Split(strings.Trim(r.URL.Path, "/"), "/")
	gvr := schema.GroupVersionResource{}
	switch {
	case len(parts) > 2 && parts[0] == "api":
		gvr.Version, parts = parts[1], parts[2:]
	case len(parts) > 3 && parts[0] == "apis":
		gvr.Group, gvr.Version, parts = parts[1], parts[2], parts[3:]
	}
	if len(parts) > 2 && parts[0] == "namespaces" {
		req.name.Namespace, parts = parts[1], parts[2:]
	}
	gvr.Resource, parts = parts[0], parts[1:]
	if len(parts) > 0 {
		req.name.Name, parts = parts[0], parts[1:]
	}
	if len(parts) > 0 {
		req.sub = parts[0]
	}
	var known bool
	if req.gvk, known = kindOf[gvr]; !known {
		return req, apierrors.NewNotFound(gvr.GroupResource(), req.name.Name)
	}
	return req, nil
}

func (s *Server) answer(r request) (runtime.Object, error) {
	switch {
	case r.verb == http.MethodGet && r.name.Name == "":
		return s.list(r)
	case r.verb == http.MethodGet:
		return s.get(r)
	case r.verb == http.MethodPost && r.sub == "binding":
		return s.bind(r)
	case r.verb == http.MethodPost && r.sub == "eviction":
		return s.evict(r)
	case r.verb == http.MethodPost && r.sub == "":
		return s.create(r)
	case r.verb == http.MethodPatch && (r.sub == "" || r.sub == "status"):
		return s.patch(r)
	case r.verb == http.MethodDelete && r.sub == "":
		return s.delete(r)
	}
	return nil, apierrors.NewMethodNotSupported(schema.GroupResource{Resource: r.gvk.Kind}, r.verb+" "+r.sub)
}

func (s *Server) object(r request) (client.Object, error) {
	k := key{r.gvk.Kind, r.name}
	if o := s.cluster.Store.objects[k]; o != nil {
		return o, nil
	}
	return nil, notFound(k)
}

func (s *Server) get(r request) (runtime.Object, error) {
	o, err := s.object(r)
	if err != nil {
		return nil, err
	}
	return typed(o, r.gvk), nil
}

func (s *Server) list(r request) (runtime.Object, error) {
	query := r.http.URL.Query()
	byLabel, err := labels.Parse(query.Get("labelSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	byField, err := fields.ParseSelector(query.Get("fieldSelector"))
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	var items []runtime.Object
	for _, o := range s.cluster.Store.lists[r.gvk.Kind] {
		if (r.name.Namespace == "" || r.name.Namespace == o.GetNamespace()) &&
			byLabel.Matches(labels.Set(o.GetLabels())) && byField.Matches(fieldsOf(o)) {
			items = append(items, typed(o, r.gvk))
		}
	}
	gvk := r.gvk.GroupVersion().WithKind(r.gvk.Kind + "List")
	list, err := clientgoscheme.Scheme.New(gvk)
	if err != nil {
		return nil, err
	}
	if err := meta.SetList(list, items); err != nil {
		return nil, err
	}
	list.GetObjectKind().SetGroupVersionKind(gvk)
	list.(metav1.ListMetaAccessor).GetListMeta().SetResourceVersion(strconv.FormatInt(s.cluster.Store.version, 10))
	return list, nil
}

func fieldsOf(o client.Object) fields.Set {
	set := fields.Set{"metadata.name": o.GetName(), "metadata.namespace": o.GetNamespace()}
	if pod, ok := o.(*corev1.Pod); ok {
		set["spec.nodeName"] = pod.Spec.NodeName
	}
	return set
}

func (s *Server) create(r request) (runtime.Object, error) {
	created, err := clientgoscheme.Scheme.New(r.gvk)
	if err != nil {
		return nil, err
	}
	if err := decode(r.body, r.gvk, created); err != nil {
		return nil, err
	}
	o := created.(client.Object)
	o.SetNamespace(r.name.Namespace)
	if r.dryRun {
		return typed(o, r.gvk), nil
	}
	if err := s.cluster.Store.Create(r.by, o); err != nil {
		return nil, err
	}
	return typed(o, r.gvk), nil
}

// patch merges a patch into the object. One that names a version applies to
// that version only.
func (s *Server) patch(r request) (runtime.Object, error) {
	old, err := s.object(r)
	if err != nil {
		return nil, err
	}
	o, err := patched(old, types.PatchType(r.http.Header.Get("Content-Type")), r.body)
	if err != nil {
		return nil, err
	}
	if err := keepRest(old, o, r.sub); err != nil {
		return nil, err
	}
	if r.dryRun {
		return typed(o, r.gvk), nil
	}
	if err := s.cluster.Store.Update(r.by, o); err != nil {
		return nil, err
	}
	return typed(o, r.gvk), nil
}

// keepRest undoes what a patch of the object, or of its status, may not change,
// and refuses what the API server would.
func keepRest(old, o client.Object, sub string) error {
	switch o := o.(type) {
	case *corev1.Pod:
		old := old.(*corev1.Pod)
		if sub == "status" {
			o.Spec = old.Spec
			return nil
		}
		o.Status = old.Status
		for _, gate := range o.Spec.SchedulingGates {
			if !hasGate(old, gate.Name) {
				return apierrors.NewInvalid(kind(o).GroupKind(), o.Name, nil)
			}
		}
	case *corev1.Node:
		old := old.(*corev1.Node)
		if sub == "status" {
			o.Spec = old.Spec
		} else {
			o.Status = old.Status
		}
	}
	return nil
}

func hasGate(pod *corev1.Pod, name string) bool {
	for _, gate := range pod.Spec.SchedulingGates {
		if gate.Name == name {
			return true
		}
	}
	return false
}

func (s *Server) delete(r request) (runtime.Object, error) {
	o, err := s.object(r)
	if err != nil {
		return nil, err
	}
	var options metav1.DeleteOptions
	if len(r.body) > 0 {
		if err := decode(r.body, metav1.SchemeGroupVersion.WithKind("DeleteOptions"), &options); err != nil {
			return nil, err
		}
	}
	if err := preconditions(options.Preconditions, o); err != nil {
		return nil, err
	}
	if pod, ok := o.(*corev1.Pod); ok {
		err = s.cluster.DeletePod(r.by, pod)
	} else {
		err = s.cluster.Store.Delete(r.by, o)
	}
	if err != nil {
		return nil, err
	}
	return success(), nil
}

func (s *Server) evict(r request) (runtime.Object, error) {
	o, err := s.object(r)
	if err != nil {
		return nil, err
	}
	var eviction policyv1.Eviction
	if err := decode(r.body, policyv1.SchemeGroupVersion.WithKind("Eviction"), &eviction); err != nil {
		return nil, err
	}
	if eviction.DeleteOptions != nil {
		if err := preconditions(eviction.DeleteOptions.Preconditions, o); err != nil {
			return nil, err
		}
	}
	pod := o.(*corev1.Pod)
	if s.cluster.Budgets && !finished(pod) {
		return nil, apierrors.NewTooManyRequestsError("Cannot evict pod as it would violate the pod's disruption budget.")
	}
	if err := s.cluster.DeletePod(r.by, pod); err != nil {
		return nil, err
	}
	return success(), nil
}

func preconditions(p *metav1.Preconditions, o client.Object) error {
	if p == nil {
		return nil
	}
	if p.UID != nil && *p.UID != o.GetUID() || p.ResourceVersion != nil && *p.ResourceVersion != o.GetResourceVersion() {
		return apierrors.NewConflict(schema.GroupResource{Resource: kind(o).Kind}, o.GetName(), fmt.Errorf("the preconditions do not hold"))
	}
	return nil
}

// typed returns a copy of the object, for an answer, that says of which kind it is.
func typed(o client.Object, gvk schema.GroupVersionKind) client.Object {
	said := newLike(o)
	copyParts(said, o, func(string) bool { return true })
	said.GetObjectKind().SetGroupVersionKind(gvk)
	return said
}
