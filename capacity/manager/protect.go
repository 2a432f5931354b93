package manager

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/tidegate-k3s/tidegate/capacity"
)

// protectEvery is the shortest time between two changes of a pool's protections:
// half of the changes that Azure allows a scale set, the others are for growth and
// deletion.
const protectEvery = 30 * time.Second

// protectActions change which machines Azure may choose by itself.
func (m *Manager) protectActions(d capacity.Decision) []action {
	var actions []action
	for _, c := range d.Protections {
		actions = append(actions, action{key: "protect/" + c.Pool, rest: protectEvery, run: func(ctx context.Context) error { return m.protect(ctx, c) }})
	}
	return actions
}

func (m *Manager) protect(ctx context.Context, c capacity.Protection) error {
	ctx, cancel := context.WithTimeout(ctx, cloudTimeout)
	defer cancel()
	ref := capacity.Ref{ID: c.Instance.ID, VMID: c.Instance.VMID}
	if err := m.write("protect", func() error { return m.pools.protect(ctx, c.Pool, ref, c.Protect) }); err != nil {
		m.progress.failed(c.UID)
		m.log.Error(err, "the protection from scale-in cannot be changed; trying again", "pool", c.Pool, "instance", c.Instance.ID, "protect", c.Protect)
		return fmt.Errorf("change the protection of machine %s of %s: %w", c.Instance.ID, c.Pool, err)
	}
	m.progress.succeeded(c.UID)
	m.log.Info("protection from scale-in changed", "pool", c.Pool, "instance", c.Instance.ID, "protect", c.Protect)
	return nil
}

// protect asks the cloud for the change, and shows it at once if it was made.
func (p *pools) protect(ctx context.Context, pool string, ref capacity.Ref, protect bool) error {
	if err := p.cloud.Protect(ctx, pool, ref, protect); err != nil {
		return err
	}
	p.update(pool, func(s *poolState) {
		s.Instances = slices.Clone(s.Instances) // snapshots share the old list
		for i := range s.Instances {
			if s.Instances[i].VMID == ref.VMID {
				s.Instances[i].Protected = protect
			}
		}
	})
	return nil
}
