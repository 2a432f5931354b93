package cluster

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	toolscache "k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Informer follows the objects of one kind some time behind the store. What
// happened first is seen first; one change that comes late holds up all that
// follow.
type Informer struct {
	toolscache.Indexer
	list     list // what the indexer holds
	handlers []toolscache.ResourceEventHandler
	seen     time.Time // when the last change that is under way will be seen
	stopped  bool
}

var _ cache.Informer = (*Informer)(nil)

// follow returns an informer that has just listed the objects. The delay is
// drawn anew for each change.
func (c *Cluster) follow(kind string, delay *Delay) *Informer {
	i := &Informer{Indexer: toolscache.NewIndexer(toolscache.MetaNamespaceKeyFunc, toolscache.Indexers{})}
	for _, o := range c.Store.lists[kind] {
		i.hold(o)
	}
	c.Store.Watch(func(e Event) {
		if i.stopped || keyOf(e.Object()).kind != kind {
			return
		}
		at := time.Now().Add(delay.draw(c.Loop.Random))
		if at.Before(i.seen) {
			at = i.seen
		}
		i.seen = at
		c.Loop.At(at, func() { i.see(e) })
	})
	return i
}

// Stop ends the informer; what it has seen stays.
func (i *Informer) Stop() { i.stopped = true }

func (i *Informer) see(e Event) {
	if i.stopped {
		return
	}
	old, had, _ := i.Get(e.Object())
	if e.New == nil {
		_ = i.Delete(e.Old)
		i.list = i.list.without(e.Old)
	} else {
		i.hold(e.New)
	}
	for _, h := range i.handlers {
		switch {
		case e.New == nil && had:
			h.OnDelete(old)
		case e.New == nil:
		case had:
			h.OnUpdate(old, e.New)
		default:
			h.OnAdd(e.New, false)
		}
	}
}

func (i *Informer) hold(o client.Object) {
	_ = i.Add(o) // an object of the store has a key
	i.list = i.list.with(o)
}

// held returns what the informer has seen, in the order of the names.
func held[T client.Object](i *Informer) []T { return all[T](i.list) }

// AddEventHandler implements cache.Informer.
func (i *Informer) AddEventHandler(h toolscache.ResourceEventHandler) (toolscache.ResourceEventHandlerRegistration, error) {
	i.handlers = append(i.handlers, h)
	for _, o := range i.list {
		h.OnAdd(o, true)
	}
	return i, nil
}

// AddEventHandlerWithResyncPeriod implements cache.Informer.
func (i *Informer) AddEventHandlerWithResyncPeriod(h toolscache.ResourceEventHandler, _ time.Duration) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(h)
}

// AddEventHandlerWithOptions implements cache.Informer.
func (i *Informer) AddEventHandlerWithOptions(h toolscache.ResourceEventHandler, _ toolscache.HandlerOptions) (toolscache.ResourceEventHandlerRegistration, error) {
	return i.AddEventHandler(h)
}

// RemoveEventHandler implements cache.Informer.
func (i *Informer) RemoveEventHandler(toolscache.ResourceEventHandlerRegistration) error {
	return errors.New("the simulation removes no event handlers")
}

// HasSynced implements cache.Informer.
func (i *Informer) HasSynced() bool { return true }

// HasSyncedChecker implements cache.Informer.
func (i *Informer) HasSyncedChecker() toolscache.DoneChecker { return synced{} }

// IsStopped implements cache.Informer.
func (i *Informer) IsStopped() bool { return i.stopped }

type synced struct{}

func (synced) Name() string { return "simulated informer" }

func (synced) Done() <-chan struct{} {
	done := make(chan struct{})
	close(done)
	return done
}

// Cache is one process's view of the cluster: an informer for each kind.
type Cache struct {
	informers map[string]*Informer
}

var _ cache.Cache = (*Cache)(nil)

// NewCache returns a cache that has just synced.
func (c *Cluster) NewCache() *Cache {
	view := &Cache{informers: map[string]*Informer{}}
	for _, o := range kinds {
		view.informers[kind(o).Kind] = c.follow(kind(o).Kind, &c.Delays.Watch)
	}
	return view
}

// Stop ends all informers.
func (v *Cache) Stop() {
	for _, i := range v.informers {
		i.Stop()
	}
}

// Informer returns the informer for objects of the type.
func (v *Cache) Informer(o client.Object) *Informer { return v.informers[kind(o).Kind] }

// Get implements client.Reader.
func (v *Cache) Get(_ context.Context, k client.ObjectKey, into client.Object, _ ...client.GetOption) error {
	name := k.Name
	if k.Namespace != "" {
		name = k.Namespace + "/" + k.Name
	}
	found, ok, err := v.Informer(into).GetByKey(name)
	if err != nil || !ok {
		return notFound(key{kind(into).Kind, k})
	}
	return copyInto(found.(client.Object), into)
}

// List implements client.Reader.
func (v *Cache) List(_ context.Context, list client.ObjectList, opts ...client.ListOption) error {
	var o client.ListOptions
	o.ApplyOptions(opts)
	if o.FieldSelector != nil {
		return errors.New("the simulated cache has no field indexes")
	}
	gvk := kind(list)
	informer := v.informers[gvk.Kind[:len(gvk.Kind)-len("List")]]
	if informer == nil {
		return fmt.Errorf("the simulated cache does not hold %s", gvk.Kind)
	}
	var items []runtime.Object
	for _, item := range held[client.Object](informer) {
		if o.Namespace != "" && o.Namespace != item.GetNamespace() ||
			o.LabelSelector != nil && !o.LabelSelector.Matches(labels.Set(item.GetLabels())) {
			continue
		}
		if o.UnsafeDisableDeepCopy == nil || !*o.UnsafeDisableDeepCopy {
			item = item.DeepCopyObject().(client.Object)
		}
		items = append(items, item)
	}
	return meta.SetList(list, items)
}

// GetInformer implements cache.Informers.
func (v *Cache) GetInformer(_ context.Context, o client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return v.Informer(o), nil
}

// GetInformerForKind implements cache.Informers.
func (v *Cache) GetInformerForKind(_ context.Context, gvk schema.GroupVersionKind, _ ...cache.InformerGetOption) (cache.Informer, error) {
	return v.informers[gvk.Kind], nil
}

// RemoveInformer implements cache.Informers.
func (v *Cache) RemoveInformer(context.Context, client.Object) error {
	return errors.New("the simulation removes no informers")
}

// Start implements cache.Informers.
func (v *Cache) Start(context.Context) error { return nil }

// WaitForCacheSync implements cache.Informers.
func (v *Cache) WaitForCacheSync(context.Context) bool { return true }

// IndexField implements client.FieldIndexer.
func (v *Cache) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return errors.New("the simulated cache has no field indexes")
}

func copyInto(from, into client.Object) error {
	source := reflect.ValueOf(from.DeepCopyObject())
	if target := reflect.ValueOf(into); target.Type() == source.Type() {
		target.Elem().Set(source.Elem())
		return nil
	}
	return fmt.Errorf("the simulated cache holds %T, not %T", from, into)
}
