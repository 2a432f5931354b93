package k3s

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// realServer writes what k3s writes at its first start to a folder.
func realServer(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	if err := os.CopyFS(root, freshServer(t, data)); err != nil {
		t.Fatal(err)
	}
	return root
}

// contents are the files below /etc.
func contents(t *testing.T, root string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := fs.WalkDir(os.DirFS(root), "etc", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			var text []byte
			text, err = os.ReadFile(filepath.Join(root, name))
			files[name] = string(text)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func TestInstall(t *testing.T) {
	root := realServer(t)
	before := contents(t, root)
	ca := certificate(t, true, -time.Hour, time.Hour)
	all := []string{"/" + ExtenderCA, "/" + SchedulerConfig, "/" + Snippet}

	install := func(ca []byte, want []string) {
		t.Helper()
		changed, err := Install(root, ca, now)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, changed); diff != "" {
			t.Errorf("changed files (-want +got):\n%s", diff)
		}
		if findings := Check(os.DirFS(root), now); len(findings) > 0 {
			t.Errorf("findings after it: %q", findings)
		}
	}
	install(ca, all)
	first := contents(t, root)
	if len(first) != len(before)+len(all) {
		t.Errorf("files: %v, want %v and those of before", first, all)
	}
	install(ca, nil)
	if diff := cmp.Diff(first, contents(t, root)); diff != "" {
		t.Errorf("a second installation changed (-before +after):\n%s", diff)
	}

	another := certificate(t, true, -time.Hour, 2*time.Hour)
	install(another, all[:1])
	if got := contents(t, root)[ExtenderCA+backup]; got != string(ca) {
		t.Errorf("the replaced authority is kept as %q, want it unchanged", got)
	}
	info, err := os.Stat(filepath.Join(root, SchedulerConfig))
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("mode %v, %v, want 0644", info.Mode(), err)
	}
}

func TestInstallRefuses(t *testing.T) {
	good := certificate(t, true, -time.Hour, time.Hour)
	for name, tc := range map[string]struct {
		files map[string]string
		gone  string
		ca    []byte
		want  string
	}{
		"no server yet": {
			gone: kubeconfigFile, ca: good,
			want: "the one that k3s writes at its first start",
		},
		"no authority": {ca: []byte("no PEM"), want: "/etc/rancher/k3s/tidegate/ca.crt: "},
		"a scheduler configuration of the user's own": {
			files: map[string]string{mainConfig: "kube-scheduler-arg: [config=/etc/mine.yaml]\n", "etc/mine.yaml": "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\nclientConnection: {kubeconfig: /" + kubeconfigFile + "}\n"}, ca: good,
			want: "0 of its extenders are Tidegate's, want one: have the entry of manifests/k3s/scheduler.yaml there",
		},
		"one that is not there": {
			files: map[string]string{mainConfig: "kube-scheduler-arg: [config=/etc/mine.yaml]\n"}, ca: good,
			want: "/etc/mine.yaml: there is no such file",
		},
		"one beside Tidegate's": {
			files: map[string]string{mainConfig: "kube-scheduler-arg: [config=/etc/mine.yaml]\n", Snippet: "kube-scheduler-arg+: [config=/etc/rancher/k3s/tidegate/scheduler.yaml]\n"}, ca: good,
			want: "remove /etc/rancher/k3s/config.yaml.d/tidegate.yaml",
		},
		"arguments that would replace it": {
			files: map[string]string{dropIns + "/zz.yaml": "kube-scheduler-arg: [v=2]\n"}, ca: good,
			want: "write kube-scheduler-arg+ there",
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := realServer(t)
			for file, text := range tc.files {
				if err := os.WriteFile(filepath.Join(root, file), []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if tc.gone != "" {
				if err := os.Remove(filepath.Join(root, tc.gone)); err != nil {
					t.Fatal(err)
				}
			}
			before := contents(t, root)
			changed, err := Install(root, tc.ca, now)
			if err == nil || !strings.Contains(err.Error(), tc.want) || len(changed) > 0 {
				t.Errorf("changed %v, error %v, want none and an error with %q", changed, err, tc.want)
			}
			if diff := cmp.Diff(before, contents(t, root)); diff != "" {
				t.Errorf("files (-before +after):\n%s", diff)
			}
		})
	}
}

// Whose scheduler has a configuration of its own adds Tidegate's entry to that;
// what that names is written, and nothing beside it.
func TestInstallBesideAConfigurationOfOnesOwn(t *testing.T) {
	root := realServer(t)
	ca := certificate(t, true, -time.Hour, time.Hour)
	own := string(embedded("k3s/scheduler.yaml")) + "parallelism: 8\n"
	for name, text := range map[string]string{mainConfig: "kube-scheduler-arg: [config=/etc/mine.yaml]\n", "etc/mine.yaml": own} {
		if err := os.WriteFile(filepath.Join(root, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if findings := Check(os.DirFS(root), now); len(findings) != 1 || findings[0].File != "/"+ExtenderCA || findings[0].Fix != reinstall {
		t.Errorf("findings before it %q, want the authority's absence, and what writes it", findings)
	}
	changed, err := Install(root, ca, now)
	if diff := cmp.Diff([]string{"/" + ExtenderCA}, changed); err != nil || diff != "" {
		t.Errorf("changed files (-want +got):\n%s, error %v", diff, err)
	}
	if findings := Check(os.DirFS(root), now); len(findings) > 0 {
		t.Errorf("findings after it: %q", findings)
	}
}

// k3s keeps its data where it is told to, and its scheduler's credentials there.
func TestInstallWithDataElsewhere(t *testing.T) {
	for name, config := range map[string]string{"by name": "data-dir: /mnt/k3s/\n", "by letter": "d: /mnt/k3s\n"} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			if err := os.CopyFS(root, freshServer(t, "mnt/k3s")); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(root, mainConfig), []byte(config), 0o644); err != nil {
				t.Fatal(err)
			}
			if _, err := Install(root, certificate(t, true, -time.Hour, time.Hour), now); err != nil {
				t.Fatal(err)
			}
			text := contents(t, root)[SchedulerConfig]
			if strings.Contains(text, data) || strings.Count(text, "/mnt/k3s/server/") != 3 {
				t.Errorf("the scheduler's files are not those in /mnt/k3s:\n%s", text)
			}
		})
	}
}

// However far an installation came, k3s starts: nothing refers to a file that
// is not there.
func TestInterruptedInstallation(t *testing.T) {
	root := realServer(t)
	ca := certificate(t, true, -time.Hour, time.Hour)
	// A folder of the snippet's name cannot be replaced by a file.
	blocked := filepath.Join(root, Snippet, "in-the-way")
	if err := os.MkdirAll(blocked, 0o755); err != nil {
		t.Fatal(err)
	}
	changed, err := Install(root, ca, now)
	if err == nil {
		t.Fatalf("changed %v and no error", changed)
	}
	settings, findings := readSettings(os.DirFS(root), "")
	if len(settings.args) > 0 || len(findings) > 0 {
		t.Errorf("k3s would start its scheduler with %q, findings %q; want it unchanged", settings.args, findings)
	}
	if err := os.RemoveAll(filepath.Join(root, Snippet)); err != nil {
		t.Fatal(err)
	}
	if _, err := Install(root, ca, now); err != nil {
		t.Errorf("once more: %v", err)
	}
	if entries, _ := filepath.Glob(filepath.Join(root, "etc/rancher/k3s/*/.*")); len(entries) > 0 {
		t.Errorf("left behind: %v", entries)
	}
	if got := contents(t, root)[ExtenderCA]; !bytes.Equal([]byte(got), ca) {
		t.Errorf("the authority is %q", got)
	}
}
