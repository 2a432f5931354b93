package emulator

import (
	"encoding/json"
	"net/http"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ScheduledEvent is an announcement of IMDS that something will happen to
// machines.
type ScheduledEvent struct {
	// Type is "Preempt", "Terminate", "Reboot", "Redeploy" or "Freeze".
	Type string `json:"type"`
	// Set and InstanceIDs are the machines.
	Set         string   `json:"set"`
	InstanceIDs []string `json:"instanceIds"`
	// Notice is how long before it happens unless it is approved earlier.
	Notice metav1.Duration `json:"notice"`
}

type pendingEvent struct {
	id, kind  string
	notBefore time.Time
	machines  []*instance
	happen    func()
	started   bool
}

// covers reports whether a machine with the IMDS sees the event: one of the
// same set does, which here is one placement group, and the master sees all.
func (p *pendingEvent) covers(h host) bool {
	return h.set == nil || slices.ContainsFunc(p.machines, func(i *instance) bool { return i.set == h.set })
}

type scheduledEvents struct {
	incarnation int
	events      []*pendingEvent
}

// eventDuration is how long an event that has started stays listed.
const eventDuration = 5 * time.Second

// Schedule announces an event and returns its ID. When its notice is over, or
// when it is approved, the machines of a Preempt or Terminate event are
// deleted; other events leave them as they are.
func (c *Cloud) Schedule(e ScheduledEvent) (string, error) {
	c.begin()
	defer c.end()
	_, machines, err := c.findInstances(c.cfg.ResourceGroup, e.Set, e.InstanceIDs)
	if err != nil {
		return "", err
	}
	return c.announce(e.Type, e.Notice.Duration, machines, func() {
		if e.Type == "Preempt" || e.Type == "Terminate" {
			c.takeMachines(machines)
		}
	}), nil
}

// announce lists an event until its notice is over or it is approved, and then
// lets it happen.
func (c *Cloud) announce(kind string, notice time.Duration, machines []*instance, happen func()) string {
	p := &pendingEvent{id: c.newUUID(), kind: kind, notBefore: c.now.Add(notice), machines: machines, happen: happen}
	c.scheduled.events = append(c.scheduled.events, p)
	c.scheduled.incarnation++
	c.after(notice, func() { c.startEvent(p) })
	return p.id
}

func (c *Cloud) startEvent(p *pendingEvent) {
	if p.started {
		return
	}
	p.started = true
	c.scheduled.incarnation++
	c.after(eventDuration, func() {
		c.scheduled.events = slices.DeleteFunc(c.scheduled.events, func(other *pendingEvent) bool { return other == p })
		c.scheduled.incarnation++
	})
	p.happen()
}

// takeMachines is Azure itself deleting machines.
func (c *Cloud) takeMachines(machines []*instance) {
	var victims []*instance
	for _, i := range machines {
		if i.state != deleting {
			victims = append(victims, i)
		}
	}
	if len(victims) > 0 {
		s := victims[0].set
		c.setCapacity(s, s.capacity-len(victims), "", ByScheduledEvent)
		c.delete(caller{}, s, victims, ByScheduledEvent)
	}
}

// approveEvents lets the events start that the client no longer waits for.
func (c *Cloud) approveEvents(h host, ids []string) bool {
	c.begin()
	defer c.end()
	known := true
	for _, id := range ids {
		n := slices.IndexFunc(c.scheduled.events, func(p *pendingEvent) bool { return p.id == id && p.covers(h) })
		if n < 0 {
			known = false
			continue
		}
		p := c.scheduled.events[n]
		if !p.started {
			for _, i := range p.machines {
				c.record(EventApproved, i, h.name, ByScheduledEvent)
			}
		}
		c.startEvent(p)
	}
	return known
}

// scheduledDocument is IMDS's answer.
// Source: Azure documentation, "Azure Metadata Service: Scheduled Events".
type scheduledDocument struct {
	DocumentIncarnation int
	Events              []scheduledEntry
}

type scheduledEntry struct {
	EventID           string `json:"EventId"`
	EventStatus       string
	EventType         string
	ResourceType      string
	Resources         []string
	NotBefore         string
	Description       string
	EventSource       string
	DurationInSeconds int
}

func (c *Cloud) scheduledDocument(h host) scheduledDocument {
	c.begin()
	defer c.end()
	doc := scheduledDocument{DocumentIncarnation: c.scheduled.incarnation, Events: []scheduledEntry{}}
	for _, p := range c.scheduled.events {
		if !p.covers(h) {
			continue
		}
		e := scheduledEntry{EventID: p.id, EventStatus: "Scheduled", EventType: p.kind, ResourceType: "VirtualMachine", Resources: []string{}, EventSource: "Platform", DurationInSeconds: -1}
		if p.started {
			e.EventStatus = "Started"
		} else {
			e.NotBefore = p.notBefore.UTC().Format(http.TimeFormat)
		}
		for _, i := range p.machines {
			e.Resources = append(e.Resources, i.name())
		}
		doc.Events = append(doc.Events, e)
	}
	return doc
}

func (c *Cloud) serveScheduledEvents(h host, w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		writeJSON(w, http.StatusOK, c.scheduledDocument(h))
		return
	}
	var approval struct {
		StartRequests []struct {
			EventID string `json:"EventId"`
		}
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody)).Decode(&approval); err != nil {
		imdsError(w, http.StatusBadRequest, "invalid_request", "parse the approval: "+err.Error())
		return
	}
	var ids []string
	for _, s := range approval.StartRequests {
		ids = append(ids, s.EventID)
	}
	if !c.approveEvents(h, ids) {
		imdsError(w, http.StatusBadRequest, "invalid_request", "An event of the approval does not exist")
		return
	}
	w.WriteHeader(http.StatusOK)
}
