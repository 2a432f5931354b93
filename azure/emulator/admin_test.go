package emulator_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

func TestAdministrationOverHTTP(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 1}}})
		var history []emulator.Event
		if err := json.Unmarshal([]byte(w.do(t, http.MethodGet, w.imds+"/emulator/history", "", nil).text), &history); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(w.cloud.History(), history); diff != "" {
			t.Errorf("history over HTTP (-in process +over HTTP):\n%s", diff)
		}
		post := func(path, body string, status int) {
			t.Helper()
			if a := w.do(t, http.MethodPost, w.imds+path, body, nil); a.status != status {
				t.Errorf("POST %s %s: %d %s, want %d", path, body, a.status, a.text, status)
			}
		}
		read := func(status int) {
			t.Helper()
			if a := w.arms(t, http.MethodGet, setPath, ""); a.status != status {
				t.Errorf("read of the set: %d %s, want %d", a.status, a.text, status)
			}
			time.Sleep(time.Second) // IMDS serves five requests a second
		}
		post("/emulator/faults", `[{"operation":"*/read","effect":{"delay":"1s","error":{"status":503,"code":"Busy","message":"Later."}}}]`, http.StatusNoContent)
		read(http.StatusServiceUnavailable)
		w.do(t, http.MethodDelete, w.imds+"/emulator/faults", "", nil)
		read(http.StatusOK)
		post("/emulator/roles", `[]`, http.StatusNoContent)
		read(http.StatusForbidden)
		post("/emulator/roles", `[{"identity":"system","role":"Reader","scope":"`+groupScope+`"}]`, http.StatusNoContent)
		read(http.StatusOK)
		post("/emulator/scheduledevents", `{"type":"Preempt","set":"agents","instanceIds":["0"],"notice":"30s"}`, http.StatusNoContent)

		post("/emulator/scheduledevents", `{"type":"Preempt","set":"agents","instanceIds":["9"]}`, http.StatusBadRequest)
		post("/emulator/roles", `[{"role":"Emperor"}]`, http.StatusBadRequest)
		post("/emulator/faults", `[{"opration":"*"}]`, http.StatusBadRequest)
		post("/emulator/faults", `{`, http.StatusBadRequest)
	})
}

func TestConfigurationFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "azure.yaml")
	const text = `
resourceGroup: render
tokenLifetime: 10m
userAssigned: [{name: tidegate}]
scaleSets:
- name: gpu
  size: Standard_X1
  capacity: 1
  tags: {tidegate: enabled}
  bootTime: {min: 8s, max: 15s}
  shape: {vcpus: 6, memoryGiB: 12, family: xFamily}
  node:
    labels: {accelerator: x}
    resources: {nvidia.com/gpu: 2}
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := emulator.LoadConfig(file)
	if err != nil {
		t.Fatal(err)
	}
	c, err := emulator.NewCloud(cfg)
	if err != nil {
		t.Fatal(err)
	}
	got := c.VMs()[0]
	want := emulator.VM{
		Set: "gpu", InstanceID: "0", ComputerName: "gpu000000", Size: "Standard_X1", Location: "westeurope",
		ResourceID: "/subscriptions/" + subscription + "/resourceGroups/render/providers/Microsoft.Compute/virtualMachineScaleSets/gpu/virtualMachines/0",
		Shape:      emulator.Shape{VCPUs: 6, MemoryGiB: 12, Family: "xFamily"},
		Node: emulator.NodeTemplate{
			Labels:    map[string]string{"accelerator": "x"},
			Resources: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse("2")},
		},
		VMID: got.VMID, Created: got.Created, Boots: 1, Disks: 1,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("machine of the file (-want +got):\n%s", diff)
	}
	roles := c.Roles()
	if len(roles) != 2 || roles[1].Identity != "tidegate" || roles[1].Role != emulator.VirtualMachineContributor {
		t.Errorf("roles by default: %+v, want every identity to be contributor", roles)
	}
}

func TestBadConfigurations(t *testing.T) {
	cases := map[string]struct {
		cfg  emulator.Config
		want string
	}{
		"set without a name": {cfg: emulator.Config{ScaleSets: []emulator.ScaleSet{{}}}, want: "has no name"},
		"same name twice":    {cfg: emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "a"}, {Name: "A"}}}, want: "listed twice"},
		"unknown size":       {cfg: emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "a", Size: "Standard_X1"}}}, want: "describe it"},
		"negative capacity":  {cfg: emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "a", Capacity: -1}}}, want: "want 0 to 1000"},
		"unknown role":       {cfg: emulator.Config{Roles: []emulator.RoleAssignment{{Role: "Emperor"}}}, want: "list its actions"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := emulator.NewCloud(tc.cfg); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("got %v, want %q", err, tc.want)
			}
		})
	}
}

func TestServerStaysOnLoopback(t *testing.T) {
	s, err := emulator.New(emulator.Config{ARMAddress: "0.0.0.0:0"})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "not a loopback address") {
		s.Close()
		t.Errorf("got %v, want a refusal", err)
	}
}
