package azure

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
	azuretemplate "github.com/tidegate-k3s/tidegate/manifests/azure"
)

// TestMain forbids every connection that is not to loopback, so that a client
// built without the emulator's endpoints fails at once.
func TestMain(m *testing.M) {
	dial := dialContext
	dialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		host, _, err := net.SplitHostPort(address)
		if ip := net.ParseIP(host); err != nil || ip == nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("a test wanted to connect to %s, which is not loopback", address)
		}
		return dial(ctx, network, address)
	}
	os.Exit(m.Run())
}

// world is a client and the emulator in one process, without a network. In a
// synctest bubble its time is virtual.
type world struct {
	*Cloud
	emulated *emulator.Cloud

	mu       sync.Mutex
	requests []string // method and path of what arrived at ARM
	tokens   int      // how many tokens were asked for
	// before, if set, is called before each request to ARM.
	before func(*http.Request)
}

const (
	imdsHost = "imds.test"
	armHost  = "arm.test"
)

func newWorld(t *testing.T, cfg emulator.Config, change ...func(*Options)) *world {
	t.Helper()
	if cfg.TokenLifetime.Duration == 0 {
		// azidentity shares tokens of more than 5 minutes in the whole process:
		// with shorter ones no test sees another's.
		cfg.TokenLifetime.Duration = 4 * time.Minute
	}
	emulated, err := emulator.NewCloud(cfg)
	if err != nil {
		t.Fatal(err)
	}
	useTheTemplatesRole(t, emulated)
	w := &world{emulated: emulated}
	w.Cloud = w.client(t, change...)
	return w
}

// useTheTemplatesRole gives whoever is Virtual Machine Contributor just the
// actions of the role that manifests/azure declares: what the tests do is what
// those allow.
func useTheTemplatesRole(t *testing.T, emulated *emulator.Cloud) {
	t.Helper()
	actions, err := azuretemplate.RoleActions()
	if err != nil {
		t.Fatal(err)
	}
	roles := emulated.Roles()
	for i := range roles {
		if roles[i].Role == emulator.VirtualMachineContributor {
			roles[i].Role, roles[i].Actions = "", append(roles[i].Actions, actions...)
		}
	}
	if err := emulated.SetRoles(roles); err != nil {
		t.Fatal(err)
	}
}

// client returns one more client of the same emulator.
func (w *world) client(t *testing.T, change ...func(*Options)) *Cloud {
	t.Helper()
	o := Options{IMDSEndpoint: "http://" + imdsHost, ARMEndpoint: "https://" + armHost, Transport: w}
	for _, f := range change {
		f(&o)
	}
	c, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// RoundTrip implements http.RoundTripper.
func (w *world) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	handler := w.emulated.IMDSHandler()
	w.mu.Lock()
	switch {
	case req.URL.Host == armHost:
		handler = w.emulated.ARMHandler()
		w.requests = append(w.requests, req.Method+" "+req.URL.Path)
	case req.URL.Host != imdsHost:
		w.mu.Unlock()
		return nil, fmt.Errorf("a test asked %s", req.URL.Host)
	case strings.HasSuffix(req.URL.Path, "/token"):
		w.tokens++
	}
	before := w.before
	w.mu.Unlock()
	if before != nil && req.URL.Host == armHost {
		before(req)
	}
	defer func() {
		if r := recover(); r == http.ErrAbortHandler {
			resp, err = nil, io.ErrUnexpectedEOF
		} else if r != nil {
			panic(r)
		}
	}()
	in := req.Clone(req.Context())
	in.Host, in.RequestURI = req.URL.Host, req.URL.RequestURI()
	if in.Body == nil {
		in.Body = http.NoBody
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, in)
	resp = recorder.Result()
	resp.Request = req
	return resp, nil
}

// sent returns how many requests with that method arrived at ARM.
func (w *world) sent(method string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, r := range w.requests {
		if strings.HasPrefix(r, method+" ") {
			n++
		}
	}
	return n
}

// capacity returns the set's capacity as the emulator has it.
func (w *world) capacity(t *testing.T, pool string) int {
	t.Helper()
	pools, err := w.client(t).Pools(t.Context(), capacity.Known{})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pools {
		if p.Name == pool {
			return p.Capacity
		}
	}
	t.Fatalf("no pool %s among %v", pool, pools)
	return 0
}

// events returns the history's entries of a kind, in one line each.
func (w *world) events(kind emulator.EventKind) []string {
	var lines []string
	for _, e := range w.emulated.History() {
		if e.Kind == kind {
			lines = append(lines, fmt.Sprintf("%s %s %s by %s", e.Set, e.InstanceID, e.How, e.By))
		}
	}
	return lines
}

// tagged is a set that is tagged for Tidegate.
func tagged(name string, capacity int) emulator.ScaleSet {
	return emulator.ScaleSet{Name: name, Capacity: capacity, Tags: map[string]string{"tidegate": "enabled"}}
}

// refs returns the pool's instances for deletion.
func (w *world) refs(t *testing.T, pool string) []capacity.Ref {
	t.Helper()
	instances, err := w.Instances(t.Context(), pool)
	if err != nil {
		t.Fatal(err)
	}
	var refs []capacity.Ref
	for _, i := range instances {
		refs = append(refs, capacity.Ref{ID: i.ID, VMID: i.VMID})
	}
	return refs
}
