package kustomize

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"

	"github.com/tidegate-k3s/tidegate/manifests"
)

var update = flag.Bool("update", false, "write the file that k3s applies by itself")

// dropIn is what k3s applies by itself, built from the overlay: k3s knows
// nothing of kustomize.
const (
	dropIn        = "k3s/server/manifests/tidegate.yaml"
	dropInOverlay = "../../manifests/overlays/own-certificates"
	dropInHead    = "# /var/lib/rancher/k3s/server/manifests/tidegate.yaml on one k3s server, which\n" +
		"# applies it. Built from manifests/overlays/own-certificates: go test ./kustomize -update\n"
)

func TestDropInIsTheOverlay(t *testing.T) {
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), dropInOverlay)
	if err != nil {
		t.Fatal(err)
	}
	text, err := built.AsYaml()
	if err != nil {
		t.Fatal(err)
	}
	want := dropInHead + string(text)
	if *update {
		if err := os.WriteFile("../../manifests/"+dropIn, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := manifests.FS.ReadFile(dropIn)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run go test ./kustomize -update in e2e; manifests/%s (-want +got):\n%s", dropIn, diff)
	}
	if strings.Contains(string(got), "cert-manager.io") {
		t.Error("it needs cert-manager, which a k3s server does not bring along")
	}
}
