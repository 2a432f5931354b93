package azure

import (
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

// TestOverTLS goes the way of production: sockets, TLS, the emulator's own CA.
func TestOverTLS(t *testing.T) {
	server, err := emulator.New(emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer server.Close()

	c, err := New(Options{IMDSEndpoint: server.IMDSEndpoint(), ARMEndpoint: server.ARMEndpoint(), ARMCA: server.CAPEM()})
	if err != nil {
		t.Fatal(err)
	}
	if c.Ready() == nil {
		t.Error("ready before Azure was ever asked")
	}
	conn, err := c.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	machine := conn.machine
	want := Machine{
		SubscriptionID: "00000000-0000-4000-8000-000000000001", ResourceGroup: "tidegate", Name: "master",
		VMID: machine.VMID, Location: "westeurope", Environment: "AzurePublicCloud",
	}
	if diff := cmp.Diff(want, machine); diff != "" || machine.VMID == "" {
		t.Errorf("machine (-want +got):\n%s", diff)
	}
	pools, err := c.Pools(t.Context(), capacity.Known{})
	if err != nil || len(pools) != 1 {
		t.Errorf("pools %v, %v: want agents", pools, err)
	}
	if err := c.Ready(); err != nil {
		t.Errorf("not ready: %v", err)
	}

	stranger, err := New(Options{IMDSEndpoint: server.IMDSEndpoint(), ARMEndpoint: server.ARMEndpoint()})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := stranger.Pools(t.Context(), capacity.Known{}); err == nil || !strings.Contains(err.Error(), "does not answer; check the network") || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("without the CA: %v, want a complaint about the certificate", err)
	}
}

// TestNothingLeavesTheMachine shows that the guard of TestMain works.
func TestNothingLeavesTheMachine(t *testing.T) {
	c, err := New(Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.connect(t.Context()); err == nil || !strings.Contains(err.Error(), "not loopback") {
		t.Fatalf("error %v, want the guard's", err)
	}
}

func TestOptions(t *testing.T) {
	cases := map[string]struct {
		options Options
		want    string
	}{
		"two identities":    {Options{ClientID: "a", ResourceID: "b"}, "both a client ID and a resource ID"},
		"no certificate":    {Options{ARMCA: []byte("nonsense")}, "no certificate in PEM form"},
		"ARM is no URL":     {Options{ARMEndpoint: "127.0.0.1:8443"}, "ARM endpoint"},
		"ARM without https": {Options{ARMEndpoint: "http://127.0.0.1:8443"}, "want https"},
		"IMDS is no URL":    {Options{IMDSEndpoint: "imds"}, "want a URL such as"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if _, err := New(tc.options); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error %v, want it to say %q", err, tc.want)
			}
		})
	}
}

func TestIMDSIsDownAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 0)}})
		w.emulated.AddFaults(emulator.Fault{Operation: emulator.IMDSInstance, Count: 2, Effect: emulator.Effect{Drop: emulator.DropBefore}})
		for range 2 {
			_, err := w.Pools(t.Context(), capacity.Known{})
			want := "the instance metadata service (IMDS) at http://imds.test does not say which VM this is; is this an Azure VM"
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Fatalf("error %v, want it to say %q", err, want)
			}
			if ready := w.Ready(); ready == nil || !strings.Contains(ready.Error(), want) {
				t.Fatalf("Ready: %v, want it to say %q", ready, want)
			}
		}
		if _, err := w.Pools(t.Context(), capacity.Known{}); err != nil || w.Ready() != nil {
			t.Errorf("once IMDS answers: %v, Ready: %v", err, w.Ready())
		}
	})
}

func TestCloudFollowsEnvironment(t *testing.T) {
	cases := map[string]struct{ environment, want string }{
		"public":     {"AzurePublicCloud", "https://management.azure.com"},
		"government": {"AzureUSGovernmentCloud", "https://management.usgovcloudapi.net"},
		"China":      {"AzureChinaCloud", "https://management.chinacloudapi.cn"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, emulator.Config{Environment: tc.environment}, func(o *Options) { o.ARMEndpoint = "" })
			conn, err := w.connect(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if conn.arm != tc.want {
				t.Errorf("ARM at %s, want %s", conn.arm, tc.want)
			}
		})
	}
	t.Run("unknown", func(t *testing.T) {
		w := newWorld(t, emulator.Config{Environment: "Moon"})
		if _, err := w.connect(t.Context()); err == nil || !strings.Contains(err.Error(), `azEnvironment "Moon"; known are`) {
			t.Errorf("error %v, want it to name the environment", err)
		}
	})
}
