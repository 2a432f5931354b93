package emulator

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"golang.org/x/time/rate"
	"k8s.io/utils/clock"
)

// Cloud is the state of the emulated subscription. Time passes in it only when
// a method is called: then everything happens first that is due by the clock.
type Cloud struct {
	cfg   Config
	clock clock.WithTicker
	// rescheduled receives when the answer of Next may have changed.
	rescheduled chan struct{}

	mu sync.Mutex
	// now is the time of what is happening; it never goes back.
	now        time.Time
	timers     timers
	seq        uint64
	bytes      *rand.ChaCha8
	random     *rand.Rand
	sets       []*scaleSet
	operations map[string]*operation
	buckets    map[string]*rate.Limiter
	roles      []RoleAssignment
	genuine    map[string]claims // by token
	faults     []*activeFault
	scheduled  scheduledEvents
	history    []Event
	notices    []func(Observer)
	delivering bool
}

// Observer learns of machines that come and go, in the order of the events.
// The methods are called without any lock held and should return soon.
type Observer interface {
	// OnBoot is called when the agent on the machine runs, also after a start,
	// a restart or a reimage.
	OnBoot(VM)
	// OnGone is called when the machine stops running: its deletion or its
	// deallocation was accepted, it restarts, or Azure takes it.
	OnGone(VM)
}

// NewCloud returns the subscription that cfg describes. The machines that
// exist from the start boot at once.
func NewCloud(cfg Config) (*Cloud, error) {
	if err := cfg.complete(); err != nil {
		return nil, fmt.Errorf("emulator configuration: %w", err)
	}
	var seed [32]byte
	binary.LittleEndian.PutUint64(seed[:], cfg.Seed)
	bytes := rand.NewChaCha8(seed)
	c := &Cloud{
		cfg:         cfg,
		clock:       cfg.Clock,
		rescheduled: make(chan struct{}, 1),
		now:         cfg.Clock.Now(),
		bytes:       bytes,
		random:      rand.New(bytes),
		operations:  map[string]*operation{},
		buckets:     map[string]*rate.Limiter{},
		roles:       slices.Clone(cfg.Roles),
		genuine:     map[string]claims{},
	}
	for _, s := range cfg.ScaleSets {
		set := &scaleSet{ScaleSet: s, etag: c.newETag(), created: c.now}
		c.sets = append(c.sets, set)
		for range s.Capacity {
			i := c.newInstance(set, "", "")
			c.after(0, func() { c.provisioned(i); c.booted(i) })
		}
		set.capacity = s.Capacity
	}
	return c, nil
}

// begin locks the state and brings it up to date. Pair it with end.
func (c *Cloud) begin() {
	c.mu.Lock()
	c.advance(c.clock.Now())
}

// end unlocks the state and delivers what the observers are due, in order:
// whoever delivers already also delivers what was added meanwhile.
func (c *Cloud) end() {
	defer c.mu.Unlock()
	if c.delivering {
		return
	}
	c.delivering = true
	for len(c.notices) > 0 {
		notice := c.notices[0]
		c.notices = c.notices[1:]
		c.mu.Unlock()
		for _, o := range c.cfg.Observers {
			notice(o)
		}
		c.mu.Lock()
	}
	c.delivering = false
}

func (c *Cloud) notify(notice func(Observer)) { c.notices = append(c.notices, notice) }

// draw returns a duration of the range.
func (c *Cloud) draw(r Range) time.Duration {
	lo, hi := r.Min.Duration, r.Max.Duration
	if hi <= lo {
		return lo
	}
	return lo + time.Duration(c.random.Int64N(int64(hi-lo)+1))
}

func (c *Cloud) newUUID() string {
	return uuid.Must(uuid.NewRandomFromReader(c.bytes)).String()
}

func (c *Cloud) newETag() string {
	var b [8]byte
	binary.BigEndian.PutUint64(b[:], c.random.Uint64())
	return `"` + hex.EncodeToString(b[:]) + `"`
}

// findSet returns the set, or the error that ARM answers.
func (c *Cloud) findSet(group, name string) (*scaleSet, *Error) {
	if !strings.EqualFold(group, c.cfg.ResourceGroup) {
		return nil, errGroup(group)
	}
	for _, s := range c.sets {
		if strings.EqualFold(s.Name, name) {
			return s, nil
		}
	}
	return nil, errSet(group, name)
}

// RemoveSet deletes a scale set with its machines, as somebody else might.
// Operations in progress fail. An unknown name is no error.
func (c *Cloud) RemoveSet(name string) {
	c.begin()
	defer c.end()
	s, err := c.findSet(c.cfg.ResourceGroup, name)
	if err != nil {
		return
	}
	for _, op := range slices.Clone(s.active) {
		c.finish(op, errSet(c.cfg.ResourceGroup, s.Name))
	}
	for _, i := range s.instances {
		c.silence(i)
		i.state = deleting
		c.record(InstanceDeleted, i, "", "")
	}
	c.sets = slices.DeleteFunc(c.sets, func(other *scaleSet) bool { return other == s })
}

// ChangeModel gives a scale set another model, as somebody does who has another
// image used: the machines that are there are outdated. An unknown name is no
// error.
func (c *Cloud) ChangeModel(name string) {
	c.begin()
	defer c.end()
	if s, err := c.findSet(c.cfg.ResourceGroup, name); err == nil {
		s.model++
		s.etag = c.newETag()
	}
}

// Resize brings a scale set to a capacity, as a person does or an autoscale rule:
// where it shrinks, Azure chooses which machines go. An unknown name is no error.
func (c *Cloud) Resize(name string, capacity int) {
	c.begin()
	defer c.end()
	if s, err := c.findSet(c.cfg.ResourceGroup, name); err == nil {
		c.resize(caller{}, s, capacity)
	}
}

// findInstance returns the machine, or the error that ARM answers to a read.
func (c *Cloud) findInstance(group, name, id string) (*instance, *Error) {
	s, err := c.findSet(group, name)
	if err != nil {
		return nil, err
	}
	if i := s.find(id); i != nil {
		return i, nil
	}
	return nil, failure(http.StatusNotFound, "NotFound", "The entity was not found: virtual machine '%s' of scale set '%s'.", id, s.Name)
}
