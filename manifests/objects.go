package manifests

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"
)

// Objects returns every object that some way of installing applies to a
// cluster, once each, in the order of the files.
func Objects() ([]*unstructured.Unstructured, error) {
	var found []*unstructured.Unstructured
	seen := map[string]bool{}
	err := fs.WalkDir(FS, ".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && name == "k3s": // goes to files of the servers
			return fs.SkipDir
		case entry.IsDir() || path.Ext(name) != ".yaml":
			return nil
		}
		objects, err := decode(name)
		for _, o := range objects {
			key := strings.Join([]string{o.GroupVersionKind().Group, o.GetKind(), o.GetNamespace(), o.GetName()}, "/")
			if o.GetName() != "" && !seen[key] {
				seen[key] = true
				found = append(found, o)
			}
		}
		return err
	})
	return found, err
}

// decode reads the objects of one file; kustomize's own have no name.
func decode(name string) ([]*unstructured.Unstructured, error) {
	text, err := FS.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var objects []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(text)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		if o.Object != nil {
			objects = append(objects, &o)
		}
	}
}
