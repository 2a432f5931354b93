package azure

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

const subscriptionScope = "/subscriptions/00000000-0000-4000-8000-000000000001"

// reader may read the whole subscription besides changing the group's sets.
func reader() []emulator.RoleAssignment {
	return []emulator.RoleAssignment{
		{Identity: emulator.SystemAssignedName, Role: emulator.VirtualMachineContributor, Scope: subscriptionScope + "/resourceGroups/tidegate"},
		{Identity: emulator.SystemAssignedName, Role: "Reader", Scope: subscriptionScope},
	}
}

// pool returns the pool of that name as it is discovered.
func (w *world) pool(t *testing.T, name string) capacity.Pool {
	t.Helper()
	pools, err := w.Pools(t.Context(), capacity.Known{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pools {
		if p.Name == name {
			return p
		}
	}
	t.Fatalf("no pool %s among %v", name, pools)
	return capacity.Pool{}
}

// requestsTo counts the requests whose path ends so.
func (w *world) requestsTo(suffix string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if strings.HasSuffix(r, suffix) {
			n++
		}
	}
	return n
}

func TestHardware(t *testing.T) {
	list := func(pairs ...string) corev1.ResourceList {
		l := corev1.ResourceList{}
		for i := 0; i < len(pairs); i += 2 {
			l[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
		}
		return l
	}
	cases := map[string]struct {
		set    emulator.ScaleSet
		want   corev1.ResourceList
		arch   string
		family string
		vcpus  int
	}{
		"general purpose": {
			set:  emulator.ScaleSet{Size: "Standard_D8s_v5"},
			want: list("cpu", "8", "memory", "32Gi"), arch: "amd64", family: "standardDSv5Family", vcpus: 8},
		"with GPUs": {
			set:  emulator.ScaleSet{Size: "Standard_NC64as_T4_v3"},
			want: list("cpu", "64", "memory", "440Gi", "nvidia.com/gpu", "4"), arch: "amd64", family: "Standard NCASv3_T4 Family", vcpus: 64},
		"Arm": {
			set:  emulator.ScaleSet{Size: "Standard_D8ps_v5"},
			want: list("cpu", "8", "memory", "32Gi"), arch: "arm64", family: "standardDPSv5Family", vcpus: 8},
		"the model says how large the disk is": {
			set:  emulator.ScaleSet{Size: "Standard_D2s_v5", OSDiskGB: 64},
			want: list("cpu", "2", "memory", "8Gi", "ephemeral-storage", "64Gi"), arch: "amd64", family: "standardDSv5Family", vcpus: 2},
		"spot machines have a quota of their own": {
			set:  emulator.ScaleSet{Size: "Standard_D2s_v5", Spot: true},
			want: list("cpu", "2", "memory", "8Gi"), arch: "amd64", family: "lowPriorityCores", vcpus: 2},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				tc.set.Name, tc.set.Tags = "agents", map[string]string{"tidegate": "enabled"}
				// Two sizes a page: the catalogue is read to its end.
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tc.set}, Roles: reader(), PageSize: 2})
				got := w.pool(t, "agents")
				if diff := cmp.Diff(tc.want, got.Hardware); diff != "" {
					t.Errorf("hardware (-want +got):\n%s", diff)
				}
				if got.Arch != tc.arch || got.Family != tc.family || got.VCPUs != tc.vcpus {
					t.Errorf("arch %q, family %q, %d vCPU, want %q, %q, %d", got.Arch, got.Family, got.VCPUs, tc.arch, tc.family, tc.vcpus)
				}
			})
		})
	}
}

func TestReadSize(t *testing.T) {
	sku := func(family string, pairs ...string) *armcompute.ResourceSKU {
		s := &armcompute.ResourceSKU{Family: to.Ptr(family)}
		for i := 0; i < len(pairs); i += 2 {
			s.Capabilities = append(s.Capabilities, &armcompute.ResourceSKUCapabilities{Name: to.Ptr(pairs[i]), Value: to.Ptr(pairs[i+1])})
		}
		return s
	}
	cases := map[string]struct {
		sku   *armcompute.ResourceSKU
		want  string // the resources, "" if there are none
		vcpus int
	}{
		"constrained vCPUs count in full": {sku("f", "vCPUs", "8", "vCPUsAvailable", "4"), "cpu=4", 8},
		"half a GiB":                      {sku("f", "MemoryGB", "0.5"), "memory=512Mi", 0},
		"GPUs by AMD":                     {sku("standardNVSv4Family", "GPUs", "1"), "amd.com/gpu=1", 0},
		"nonsense":                        {sku("f", "vCPUs", "many", "MemoryGB", "NaN", "GPUs", "-1"), "", 0},
		"overflow":                        {sku("f", "vCPUs", "1e300", "MemoryGB", "Inf"), "", 0},
		"nothing":                         {&armcompute.ResourceSKU{}, "", 0},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			want := corev1.ResourceList{}
			if resourceName, amount, ok := strings.Cut(tc.want, "="); ok {
				want[corev1.ResourceName(resourceName)] = resource.MustParse(amount)
			}
			got := readSize(tc.sku)
			if diff := cmp.Diff(want, got.hardware); diff != "" || got.vcpus != tc.vcpus {
				t.Errorf("%d vCPU, want %d; hardware (-want +got):\n%s", got.vcpus, tc.vcpus, diff)
			}
		})
	}
}

func TestHeadroom(t *testing.T) {
	const family = "standardDSv5Family"
	cases := map[string]struct {
		quotas []emulator.Quota
		spot   bool
		want   *int
	}{
		"of the family":               {quotas: []emulator.Quota{{Family: family, Limit: 100, UsedElsewhere: 50}}, want: to.Ptr(4)}, // 100 - 50 - 16
		"the whole region's is less":  {quotas: []emulator.Quota{{Family: family, Limit: 100}, {Family: "cores", Limit: 40}}, want: to.Ptr(3)},
		"used up":                     {quotas: []emulator.Quota{{Family: family, Limit: 10}}, want: to.Ptr(0)},
		"the case differs":            {quotas: []emulator.Quota{{Family: "StandardDSV5family", Limit: 32}}, want: to.Ptr(2)},
		"not listed":                  {quotas: []emulator.Quota{{Family: "cores", Limit: 40}}},
		"spot has one of its own":     {spot: true, quotas: []emulator.Quota{{Family: family, Limit: 0}, {Family: "cores", Limit: 0}, {Family: "lowPriorityCores", Limit: 48}}, want: to.Ptr(4)},
		"of spot machines not listed": {spot: true, quotas: []emulator.Quota{{Family: family, Limit: 100}}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				set := tagged("agents", 2)
				set.Spot = tc.spot
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{set}, Roles: reader(), Quotas: tc.quotas, PageSize: 1})
				if diff := cmp.Diff(tc.want, w.pool(t, "agents").Headroom); diff != "" {
					t.Errorf("headroom (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// The catalogue is read once a day, the quotas once a minute and after every
// change of ours.
func TestRegionIsRemembered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{
			ScaleSets: []emulator.ScaleSet{tagged("agents", 0), tagged("big", 0)}, Roles: reader(),
			Quotas: []emulator.Quota{{Family: "standardDSv5Family", Limit: 100}},
		})
		look := func(headroom, skus, usages int) {
			t.Helper()
			if got := w.pool(t, "agents").Headroom; got == nil || *got != headroom {
				t.Errorf("headroom %v, want %d", got, headroom)
			}
			if n := w.requestsTo("/skus"); n != skus {
				t.Errorf("the catalogue was read %d times, want %d", n, skus)
			}
			if n := w.requestsTo("/usages"); n != usages {
				t.Errorf("the quotas were read %d times, want %d", n, usages)
			}
		}
		look(12, 1, 1)
		time.Sleep(30 * time.Second)
		look(12, 1, 1)
		wait, err := w.Grow(t.Context(), "agents", 0, 3)
		if err != nil {
			t.Fatal(err)
		}
		look(9, 1, 2)
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Delete(t.Context(), "agents", w.refs(t, "agents")[:1]); err != nil {
			t.Fatal(err)
		}
		look(10, 1, 3)
		time.Sleep(time.Minute)
		look(10, 1, 4)
		time.Sleep(24 * time.Hour)
		look(10, 2, 5)
	})
}

// Without the reading role everything else goes on; what is missing is said
// once, and noticed once it is granted.
func TestWithoutReadingRole(t *testing.T) {
	cases := map[string]struct {
		denied string // action
		path   string // its end
		want   string // what the log says
		sizes  bool   // the sizes are known nevertheless
	}{
		"nothing may be read":        {denied: actionReadSKUs, path: "/skus", want: "the VM sizes cannot be read"},
		"the quotas may not be read": {denied: actionReadUsages, path: "/usages", want: "the quotas cannot be read", sizes: true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var lines []string
				roles := reader()[:1]
				if tc.sizes {
					roles = append(roles, emulator.RoleAssignment{Identity: emulator.SystemAssignedName, Scope: subscriptionScope, Actions: []string{actionReadSKUs}})
				}
				w := newWorld(t, emulator.Config{
					ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}, Roles: roles,
					Quotas: []emulator.Quota{{Family: "standardDSv5Family", Limit: 100}},
				}, func(o *Options) {
					o.Log = funcr.New(func(_, args string) { lines = append(lines, args) }, funcr.Options{})
				})
				for range 30 {
					got := w.pool(t, "agents")
					if got.Headroom != nil || (got.VCPUs > 0) != tc.sizes {
						t.Fatalf("pool %+v, want no headroom and sizes known: %t", got, tc.sizes)
					}
					time.Sleep(time.Minute)
				}
				if n := w.requestsTo(tc.path); n > 4 {
					t.Errorf("asked %d times in half an hour, want once in ten minutes", n)
				}
				if err := w.Ready(); err != nil {
					t.Errorf("not ready, although Tidegate can do without: %v", err)
				}
				said := 0
				for _, line := range lines {
					if strings.Contains(line, tc.want) && strings.Contains(line, tc.denied) && strings.Contains(line, "az role assignment create --role \\\"Reader\\\" --scope "+subscriptionScope+" ") {
						said++
					}
				}
				if said != 1 {
					t.Errorf("the log says %d times what is missing and how to grant it, want once: %q", said, lines)
				}
				if err := w.emulated.SetRoles(reader()); err != nil {
					t.Fatal(err)
				}
				time.Sleep(10 * time.Minute)
				if got := w.pool(t, "agents"); got.Headroom == nil || *got.Headroom != 11 {
					t.Errorf("pool %+v once the role is there, want a headroom of 11", got)
				}
			})
		})
	}
}

// A region that does not answer is no reason not to know the pools.
func TestRegionIsSilent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}, Roles: reader()})
		w.before = func(r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/skus") {
				<-r.Context().Done()
			}
		}
		start := time.Now()
		if got := w.pool(t, "agents"); got.Hardware != nil || got.Capacity != 1 {
			t.Errorf("pool %+v, want it without hardware", got)
		}
		if took := time.Since(start); took > regionTimeout {
			t.Errorf("it took %s, want at most %s", took, regionTimeout)
		}
	})
}
