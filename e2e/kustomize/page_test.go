package kustomize

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/api/resmap"
	"sigs.k8s.io/kustomize/kyaml/filesys"
	"sigs.k8s.io/yaml"
)

const checkout = "../.."

// image is the one that docs/install.md names in its examples.
const image = "registry.example/tidegate:v1"

func page(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, "docs", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// block returns the page's code block of the language that has the text in it.
func block(t *testing.T, name, language, has string) string {
	t.Helper()
	for _, found := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```\n").FindAllStringSubmatch(page(t, name), -1) {
		if strings.Contains(found[1], has) {
			return found[1]
		}
	}
	t.Fatalf("docs/%s has no block of %s with %q", name, language, has)
	return ""
}

// images returns the images of all containers, by workload.
func images(t *testing.T, objects resmap.ResMap) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, r := range objects.Resources() {
		var workload struct {
			Spec struct {
				Template struct {
					Spec struct {
						Containers []struct{ Name, Image string }
					}
				}
			}
		}
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(text, &workload); err != nil && r.GetKind() == "Deployment" {
			t.Fatal(err)
		}
		for _, c := range workload.Spec.Template.Spec.Containers {
			found[r.GetNamespace()+"/"+r.GetName()+" "+c.Name] = c.Image
		}
	}
	return found
}

var everyImage = map[string]string{
	"tidegate-server/tidegate tidegate":        image,
	"tidegate-server/tidegate-agent agent":     image,
	"tidegate-system/tidegate-webhook webhook": image,
}

func TestDocumentedKustomizationNamesEveryImage(t *testing.T) {
	built := buildWith(t, block(t, "install.md", "yaml", "images:"))
	if diff := cmp.Diff(everyImage, images(t, built)); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// The patch for a user-assigned identity goes into the same kustomization.
func TestDocumentedIdentity(t *testing.T) {
	built := buildWith(t, block(t, "install.md", "yaml", "images:")+"\n"+block(t, "azure.md", "yaml", "identity-client-id"))
	var daemonSet appsv1.DaemonSet
	one(t, built, "DaemonSet", "tidegate", &daemonSet)
	if got, want := daemonSet.Spec.Template.Spec.Containers[0].Args, []string{"run", "--webhook=false", "--identity-client-id=CLIENT_ID"}; !slices.Equal(got, want) {
		t.Errorf("the arguments are %q, want %q", got, want)
	}
}

// The command for k3s' own folder is run as it stands there, but for the folder.
func TestDocumentedDropInNamesEveryImage(t *testing.T) {
	folder := t.TempDir()
	command := block(t, "install.md", "sh", dropIn)
	redirected := strings.Replace(command, "/var/lib/rancher/k3s/server/manifests", folder, 1)
	if redirected == command {
		t.Fatalf("it writes to another folder than k3s': %s", command)
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-euc", redirected)
	cmd.Dir = checkout
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	text, err := os.ReadFile(filepath.Join(folder, "tidegate.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(everyImage, images(t, file(t, text))); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
}

// file reads the objects of one file.
func file(t *testing.T, text []byte) resmap.ResMap {
	t.Helper()
	disk := filesys.MakeFsInMemory()
	if err := disk.WriteFile("/objects.yaml", text); err != nil {
		t.Fatal(err)
	}
	if err := disk.WriteFile("/kustomization.yaml", []byte("resources: [objects.yaml]")); err != nil {
		t.Fatal(err)
	}
	objects, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(disk, "/")
	if err != nil {
		t.Fatal(err)
	}
	return objects
}

// From any way of installing to any other, the commands for what the new one does
// without delete all that the old one leaves, and nothing that the new one has.
func TestDocumentedDeletionsLeaveNothing(t *testing.T) {
	deletions := map[string][]string{}
	for _, found := range regexp.MustCompile("`kubectl delete (-[kf]) (manifests/[^`]+)`").FindAllStringSubmatch(page(t, "install.md"), -1) {
		if found[1] == "-k" {
			deletions[found[2]] = onDisk(t, found[2])
			continue
		}
		text, err := os.ReadFile(filepath.Join(checkout, found[2]))
		if err != nil {
			t.Fatal(err)
		}
		deletions[found[2]] = names(file(t, text))
	}
	ways := []string{"manifests", "manifests/overlays/own-certificates", "manifests/overlays/admission-policy"}
	for _, from := range ways {
		for _, to := range ways {
			after := onDisk(t, to)
			isKept := func(name string) bool { return slices.Contains(after, name) }
			left := slices.DeleteFunc(onDisk(t, from), isKept)
			for command, deleted := range deletions {
				kept := slices.DeleteFunc(slices.Clone(deleted), func(name string) bool { return !isKept(name) })
				switch len(kept) {
				case 0: // the new way does without
					left = slices.DeleteFunc(left, func(name string) bool { return slices.Contains(deleted, name) })
				case len(deleted):
				default:
					t.Errorf("%s has %q of what the deletion of %s takes away, but not all", to, kept, command)
				}
			}
			if len(left) > 0 {
				t.Errorf("from %s to %s no command deletes %q", from, to, left)
			}
		}
	}
}

// onDisk lists the objects of a kustomization of the checkout.
func onDisk(t *testing.T, folder string) []string {
	t.Helper()
	built, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(checkout, folder))
	if err != nil {
		t.Fatal(err)
	}
	return names(built)
}

func names(objects resmap.ResMap) (names []string) {
	for _, r := range objects.Resources() {
		names = append(names, strings.Join([]string{r.GetKind(), r.GetNamespace(), r.GetName()}, " "))
	}
	return names
}
