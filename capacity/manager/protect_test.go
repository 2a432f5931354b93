package manager

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// A change shows at once, a refused one does not.
func TestProtectionShows(t *testing.T) {
	for name, refused := range map[string]error{"made": nil, "refused": errors.New("403 no role")} {
		t.Run(name, func(t *testing.T) {
			cloud := &scriptedCloud{
				pool:      capacity.Pool{Capacity: 1, Settled: true},
				instances: []capacity.Instance{{ID: "1", VMID: testVMID, State: capacity.InstanceRunning}},
				deleteErr: refused,
			}
			inVirtualTime(t, cloud, func(t *testing.T, p *pools) {
				before := agents(t, p)
				err := p.protect(t.Context(), "agents", capacity.Ref{ID: "1", VMID: testVMID}, true)
				if !errors.Is(err, refused) {
					t.Errorf("error %v, want %v", err, refused)
				}
				after := agents(t, p)
				if after.Instances[0].Protected != (refused == nil) || before.Instances[0].Protected {
					t.Errorf("shown as protected: %t, and in an older snapshot: %t", after.Instances[0].Protected, before.Instances[0].Protected)
				}
				if diff := cmp.Diff([]string{"1 true"}, cloud.protected); diff != "" {
					t.Errorf("asked for (-want +got):\n%s", diff)
				}
			})
		})
	}
}

// A machine whose protection is refused is held back, so that others have their turn.
func TestARefusedProtectionIsHeldBack(t *testing.T) {
	for name, refused := range map[string]error{"made": nil, "refused": errors.New("409 it is being updated")} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, open404, interceptor.Funcs{})
			w.pools = newPools(&scriptedCloud{deleteErr: refused}, time.Now, w.log, func() {})
			c := capacity.Protection{Pool: "agents", UID: "uid-node", Instance: capacity.Instance{ID: "1", VMID: testVMID}, Protect: true}
			if err := w.protect(t.Context(), c); !errors.Is(err, refused) {
				t.Errorf("error %v, want %v", err, refused)
			}
			if held := !w.progress.node("uid-node").holdUntil.IsZero(); held != (refused != nil) {
				t.Errorf("held back: %t, want %t", held, refused != nil)
			}
		})
	}
}
