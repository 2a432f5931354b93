package azure

import (
	"context"
	"maps"
	"strings"
	"sync"
	"time"
)

const (
	// sizesGood and usagesGood are how long what was read of a region is used.
	// Sizes hardly ever change; usages change with every machine of the
	// subscription, and are read anew after a growth or a deletion of ours.
	sizesGood  = 24 * time.Hour
	usagesGood = time.Minute
	// regionRetry is how long a failed read is not tried again: a role that is
	// granted meanwhile is noticed then.
	regionRetry = 10 * time.Minute
	// regionTimeout bounds such a read: the pools are known without it.
	regionTimeout = 20 * time.Second
)

// region remembers what was read of a region.
type region struct {
	sizes  remembered[map[string]vmSize]
	usages remembered[map[string]usage]
}

// remembered is a value that is read anew once it is no longer good.
type remembered[T any] struct {
	mu    sync.Mutex
	value T
	until time.Time
	said  string // what the log said last of a failure
}

// get returns the value, read anew if it is no longer good. If that fails, the
// value is the zero value for a while: better unknown than wrong.
func (r *remembered[T]) get(good time.Duration, read func() (T, error), failed func(error)) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Now().Before(r.until) {
		return r.value
	}
	value, err := read()
	if err == nil {
		r.value, r.until, r.said = value, time.Now().Add(good), ""
		return r.value
	}
	var none T
	r.value, r.until = none, time.Now().Add(regionRetry)
	if r.said != err.Error() {
		r.said = err.Error()
		failed(err)
	}
	return r.value
}

// forget has a value that is known read anew the next time.
func (r *remembered[T]) forget(known func(T) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if known(r.value) {
		r.until = time.Time{}
	}
}

// region returns what is known of a region.
func (c *Cloud) region(name string) *region {
	c.mu.Lock()
	defer c.mu.Unlock()
	r, ok := c.regions[name]
	if !ok {
		r = &region{}
		if c.regions == nil {
			c.regions = map[string]*region{}
		}
		c.regions[name] = r
	}
	return r
}

// describe adds what the regions' catalogues and quotas say of the sets. Both
// need a role on the subscription; without it the sets stay as they are.
func (c *Cloud) describe(ctx context.Context, conn *connection, sets []scaleSet) {
	for i := range sets {
		s := &sets[i]
		r := c.region(s.location)
		sizes := r.sizes.get(sizesGood, func() (map[string]vmSize, error) {
			ctx, cancel := context.WithTimeout(ctx, regionTimeout)
			defer cancel()
			return conn.readSizes(ctx, s.location)
		}, func(err error) {
			c.options.Log.Info("the VM sizes cannot be read: of a pool without a node and without tags Tidegate does not know what a machine offers, and of no pool what quota is left",
				"region", s.location, "problem", err.Error())
		})
		size, ok := sizes[strings.ToLower(s.VMSize)]
		if !ok {
			continue
		}
		hardware := maps.Clone(size.hardware)
		maps.Copy(hardware, s.Hardware)
		s.Hardware, s.Arch, s.Family, s.VCPUs = hardware, size.arch, size.family, size.vcpus
		if s.Spot {
			s.Family = spotQuota
		}
		usages := r.usages.get(usagesGood, func() (map[string]usage, error) {
			ctx, cancel := context.WithTimeout(ctx, regionTimeout)
			defer cancel()
			return conn.readUsages(ctx, s.location)
		}, func(err error) {
			c.options.Log.Info("the quotas cannot be read: Tidegate learns of them by refusals only", "region", s.location, "problem", err.Error())
		})
		s.Headroom = headroom(usages, s.Pool)
	}
}

// forgetUsages has the quotas read anew, because something of ours took from
// them or gave back. What could not be read is not asked for more often.
func (c *Cloud) forgetUsages() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, r := range c.regions {
		r.usages.forget(func(known map[string]usage) bool { return known != nil })
	}
}
