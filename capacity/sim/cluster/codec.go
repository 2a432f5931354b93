package cluster

import (
	"bytes"
	"fmt"
	"reflect"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// serializers are the ways to write an object, by media type.
var serializers = func() map[string]runtime.Serializer {
	m := map[string]runtime.Serializer{}
	for _, info := range clientgoscheme.Codecs.SupportedMediaTypes() {
		m[info.MediaType] = info.Serializer
	}
	return m
}()

// encode writes an object for a client that accepts those media types: most ask
// for protobuf.
func encode(o runtime.Object, accept string) (contentType string, body []byte) {
	contentType = runtime.ContentTypeJSON
	if strings.Contains(accept, runtime.ContentTypeProtobuf) {
		contentType = runtime.ContentTypeProtobuf
	}
	var b bytes.Buffer
	if err := serializers[contentType].Encode(o, &b); err != nil {
		panic(fmt.Sprintf("encode %T: %v", o, err)) // API types always encode
	}
	return contentType, b.Bytes()
}

// decode reads an object of the kind into o, in whatever way it was written.
func decode(body []byte, kind schema.GroupVersionKind, o runtime.Object) error {
	_, _, err := clientgoscheme.Codecs.UniversalDeserializer().Decode(body, &kind, o)
	if err != nil {
		return apierrors.NewBadRequest(err.Error())
	}
	return nil
}

// patched returns the object with the patch in it. What the patch does not touch
// is not copied.
func patched(o client.Object, kind types.PatchType, patch []byte) (client.Object, error) {
	var changes map[string]any
	if err := json.Unmarshal(patch, &changes); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	changed := func(part string) bool { return changes[part] != nil }
	unchanged := func(part string) bool { return changes[part] == nil }
	touched := newLike(o)
	copyParts(touched, o, changed)
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(touched)
	if err != nil {
		return nil, err
	}
	switch kind {
	case types.MergePatchType:
		merge(content, changes)
	case types.StrategicMergePatchType:
		content, err = strategicpatch.StrategicMergeMapPatch(content, changes, o)
	default:
		err = fmt.Errorf("patch type %s is not simulated", kind)
	}
	if err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	after := newLike(o)
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(content, after); err != nil {
		return nil, apierrors.NewBadRequest(err.Error())
	}
	copyParts(after, o, unchanged)
	return after, nil
}

// copyParts copies those parts of an object, such as metadata or status, that are
// wanted.
func copyParts(to, from client.Object, wanted func(part string) bool) {
	source, target := reflect.ValueOf(from).Elem(), reflect.ValueOf(to).Elem()
	for i := range source.NumField() {
		part, _, _ := strings.Cut(source.Type().Field(i).Tag.Get("json"), ",")
		if wanted(part) {
			target.Field(i).Set(source.Field(i))
		}
	}
}

// merge changes an object by a merge patch. Source: RFC 7396.
func merge(object, patch map[string]any) {
	for key, value := range patch {
		changes, nested := value.(map[string]any)
		switch {
		case value == nil:
			delete(object, key)
		case nested:
			inner, ok := object[key].(map[string]any)
			if !ok {
				inner = map[string]any{}
				object[key] = inner
			}
			merge(inner, changes)
		default:
			object[key] = value
		}
	}
}

// newLike returns a new object of the object's type.
func newLike(o client.Object) client.Object {
	return reflect.New(reflect.TypeOf(o).Elem()).Interface().(client.Object)
}

// success is what the API server answers to a request that returns no object.
func success() *metav1.Status {
	return &metav1.Status{TypeMeta: metav1.TypeMeta{Kind: "Status", APIVersion: "v1"}, Status: metav1.StatusSuccess}
}
