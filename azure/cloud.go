package azure

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/resourcemanager/compute/armcompute/v8"
	"github.com/go-logr/logr"
)

// DefaultPollInterval is the time between two looks at a long-running
// operation for which Azure names none.
const DefaultPollInterval = 5 * time.Second

// Options says how to reach Azure. The zero value is right on an Azure VM with
// a system-assigned identity.
type Options struct {
	// IMDSEndpoint is the base URL of the instance metadata service; empty
	// means the link-local address that every Azure VM has.
	IMDSEndpoint string
	// ARMEndpoint is the base URL of Azure Resource Manager; empty means that
	// of the cloud which IMDS names.
	ARMEndpoint string
	// ARMCA is, in PEM, the only authority to trust for ARMEndpoint; empty
	// means the system's.
	ARMCA []byte
	// ClientID or ResourceID selects a user-assigned identity. At most one may
	// be set; with neither the identity is the system-assigned one.
	ClientID, ResourceID string
	// PollInterval is the time between two looks at a long-running operation
	// for which Azure names none; 0 means DefaultPollInterval.
	PollInterval time.Duration
	// Transport carries every request, to IMDS and to ARM; nil means the
	// network.
	Transport http.RoundTripper
	// Log receives what is wrong with a pool's tags; the zero value discards it.
	Log logr.Logger
}

// Cloud is Azure as the manager sees it. It is safe for concurrent use.
type Cloud struct {
	options Options
	imds    *imds
	armHTTP *http.Client
	health  health
	locks   poolLocks
	members membership
	reads   budget
	updates budget

	mu   sync.Mutex
	conn *connection // nil until connect has succeeded
	// wrongTags is what the log said last of each pool's tags.
	wrongTags map[string]string
	// pages is how many requests the last list of each set's instances took, by its name
	// in lower case.
	pages map[string]int
	// regions is what was read of the regions that the sets are in.
	regions map[string]*region
}

// connection is what the first successful contact with IMDS settles for good.
type connection struct {
	machine  Machine
	identity string // in words, for messages
	arm      string // base URL
	sets     *armcompute.VirtualMachineScaleSetsClient
	vms      *armcompute.VirtualMachineScaleSetVMsClient
	skus     *armcompute.ResourceSKUsClient
	usages   *armcompute.UsageClient
}

// New checks the options. It sends nothing: the first call that needs Azure
// connects, and until one has succeeded every call tries anew.
func New(o Options) (*Cloud, error) {
	if o.ClientID != "" && o.ResourceID != "" {
		return nil, errors.New("both a client ID and a resource ID are given for the managed identity: give one")
	}
	if o.PollInterval == 0 {
		o.PollInterval = DefaultPollInterval
	}
	imds, err := newIMDS(o)
	if err != nil {
		return nil, err
	}
	armHTTP, err := newARMHTTP(o)
	if err != nil {
		return nil, err
	}
	return &Cloud{
		options: o, imds: imds, armHTTP: armHTTP,
		reads:   budget{perMinute: readsPerMinute, burst: readBurst},
		updates: budget{perMinute: updatesPerMinute, burst: updateBurst},
	}, nil
}

// connect asks IMDS which machine this is and prepares the clients, once.
func (c *Cloud) connect(ctx context.Context) (*connection, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn != nil {
		return c.conn, nil
	}
	machine, err := c.imds.machine(ctx)
	if err == nil {
		c.conn, err = c.newConnection(machine)
	}
	if err != nil {
		c.health.note("", err)
		return nil, err
	}
	c.options.Log.Info("found this machine", "vm", machine.Name, "resourceGroup", machine.ResourceGroup,
		"subscription", machine.SubscriptionID, "location", machine.Location, "cloud", machine.Environment, "identity", c.conn.identity)
	return c.conn, nil
}

// Ready returns nil if Azure could be used when it was last asked, and
// otherwise what stands in the way and what to do about it: IMDS or ARM does
// not answer, there is no token, or the identity lacks a role. It asks nothing
// itself and recovers as soon as a later call succeeds.
func (c *Cloud) Ready() error { return c.health.err() }

// guardOwn refuses the scale set that Tidegate itself runs on.
func (m Machine) guardOwn(pool string) error {
	if strings.EqualFold(m.ScaleSet, pool) {
		return fmt.Errorf("scale set %s holds Tidegate's own VM %s: it is never changed", pool, m.Name)
	}
	return nil
}

// poolLocks serialises what is submitted of one kind for one pool. Growths and
// deletions do not wait for each other: one that hangs must not stop the other.
type poolLocks struct {
	mu    sync.Mutex
	locks map[string]chan struct{}
}

// lock waits for its turn, or for ctx to end.
func (l *poolLocks) lock(ctx context.Context, kind, pool string) (unlock func(), err error) {
	key := kind + "/" + strings.ToLower(pool)
	l.mu.Lock()
	ch, ok := l.locks[key]
	if !ok {
		ch = make(chan struct{}, 1)
		if l.locks == nil {
			l.locks = map[string]chan struct{}{}
		}
		l.locks[key] = ch
	}
	l.mu.Unlock()
	select {
	case ch <- struct{}{}:
		return func() { <-ch }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}
