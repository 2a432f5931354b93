// Package image tests what the Dockerfile builds, on machines that have nothing
// to build images with.
package image

import (
	"bytes"
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
)

const checkout = "../.."

// buildStep is the Dockerfile's command that builds the binary.
func buildStep(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^RUN (.*go build.*)$`).FindSubmatch(text)
	if found == nil {
		t.Fatal("the Dockerfile has no step that builds the binary")
	}
	return string(found[1])
}

// build runs the Dockerfile's command in the folder and returns the binary.
func build(t *testing.T, dir, arch string) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "tidegate")
	step := strings.Replace(buildStep(t), "-o /tidegate", "-o "+binary, 1)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", step)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "TARGETOS=linux", "TARGETARCH="+arch, "VERSION=v1.2.3")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", step, err, out)
	}
	return binary
}

// The image is nothing but the binary, what it trusts and its licence, says what
// it is, and runs as a user that may do nothing: the DaemonSet's and Deployment's.
func TestImageSaysWhatItIs(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(checkout, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	_, image, found := strings.Cut(string(text), "\nFROM scratch\n")
	if !found {
		t.Fatal("the image is not built on scratch")
	}
	for _, label := range []string{"title", "description", "source", "licenses", "version"} {
		if !regexp.MustCompile(`org\.opencontainers\.image\.` + label + `="[^"]+"`).MatchString(image) {
			t.Errorf("it has no label %s", label)
		}
	}
	if want := "USER 65532:65532\nENTRYPOINT [\"/tidegate\"]\n"; !strings.HasSuffix(image, want) {
		t.Errorf("it ends with %q, want %q", image[strings.LastIndex(image, "COPY"):], want)
	}
}

// For both architectures the binary needs nothing but a kernel.
func TestStatic(t *testing.T) {
	for arch, machine := range map[string]elf.Machine{"amd64": elf.EM_X86_64, "arm64": elf.EM_AARCH64} {
		binary, err := elf.Open(build(t, checkout, arch))
		if err != nil {
			t.Fatal(err)
		}
		libraries, err := binary.ImportedLibraries()
		if err != nil || len(libraries) > 0 || binary.Machine != machine {
			t.Errorf("%s: built for %s, needs %v, %v; want %s and nothing", arch, binary.Machine, libraries, err, machine)
		}
		for _, program := range binary.Progs {
			if program.Type == elf.PT_INTERP {
				t.Errorf("%s: it needs a dynamic loader", arch)
			}
		}
		binary.Close()
	}
}

// In an empty root, as the user of the image, it starts and knows its version.
func TestStartsInAnEmptyRoot(t *testing.T) {
	const user = 65532
	binary := build(t, checkout, "amd64")
	root, err := os.MkdirTemp("", "tidegate-root-") // t.TempDir's parents are closed to that user
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(root) })
	text, err := os.ReadFile(binary)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, "tidegate"), text, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(root, 0o555); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "/tidegate", "--version")
	cmd.Dir, cmd.Env = "/", []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: user, Gid: user}}
	if os.Getuid() != 0 {
		// A user namespace, in which the user may change the root.
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Chroot: root, Cloneflags: syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: user, HostID: os.Getgid(), Size: 1}},
		}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "v1.2.3") {
		t.Errorf("tidegate --version says %q, %v", out, err)
	}
}

// The same sources give the same bytes, wherever the checkout is.
func TestReproducible(t *testing.T) {
	elsewhere := filepath.Join(t.TempDir(), "checkout")
	if err := os.Mkdir(elsewhere, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"go.mod", "go.sum", "LICENSE"} {
		text, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(elsewhere, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	folders, err := os.ReadDir(checkout)
	if err != nil {
		t.Fatal(err)
	}
	for _, folder := range folders {
		// What .dockerignore leaves out is not needed.
		if !folder.IsDir() || strings.HasPrefix(folder.Name(), ".") || slices.Contains([]string{"e2e", "bench", "bin"}, folder.Name()) {
			continue
		}
		if err := os.CopyFS(filepath.Join(elsewhere, folder.Name()), os.DirFS(filepath.Join(checkout, folder.Name()))); err != nil {
			t.Fatal(err)
		}
	}
	here, there := read(t, build(t, checkout, "amd64")), read(t, build(t, elsewhere, "amd64"))
	if !bytes.Equal(here, there) {
		t.Errorf("two checkouts give %d and %d bytes that differ", len(here), len(there))
	}
}

// make image finds the builder that there is, also when another is named before
// it, and asks it for both architectures in its own words.
func TestMakeImage(t *testing.T) {
	const both = "linux/amd64,linux/arm64"
	make, err := exec.LookPath("make")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		builder string
		args    []string
		want    string
	}{
		"docker":                  {builder: "docker", want: "build --build-arg VERSION=v1 -t docker.io/library/tidegate:latest ."},
		"podman":                  {builder: "podman", want: "build --build-arg VERSION=v1 -t docker.io/library/tidegate:latest ."},
		"docker, both platforms":  {builder: "docker", args: []string{"IMAGE=r.example/t:v1", "PLATFORMS=" + both}, want: "build --build-arg VERSION=v1 --platform " + both + " --push -t r.example/t:v1 ."},
		"buildah, both platforms": {builder: "buildah", args: []string{"IMAGE=r.example/t:v1", "PLATFORMS=" + both}, want: "build --build-arg VERSION=v1 --platform " + both + " --manifest r.example/t:v1 ."},
	} {
		t.Run(name, func(t *testing.T) {
			tools := t.TempDir()
			if err := os.WriteFile(filepath.Join(tools, tc.builder), []byte("#!/bin/sh\necho \"$@\"\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			cmd := exec.CommandContext(t.Context(), make, append([]string{"--silent", "image", "VERSION=v1"}, tc.args...)...)
			cmd.Dir, cmd.Env = checkout, []string{"PATH=" + tools}
			out, err := cmd.CombinedOutput()
			if got := strings.TrimSpace(string(out)); err != nil || got != tc.want {
				t.Errorf("%s is asked for %q, %v, want %q", tc.builder, got, err, tc.want)
			}
		})
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}
