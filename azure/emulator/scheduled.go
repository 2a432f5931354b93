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
	ScheduledEvent
	id        string
	notBefore time.Time
	machines  []*instance
	started   bool
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
	p := &pendingEvent{ScheduledEvent: e, id: c.newUUID(), notBefore: c.now.Add(e.Notice.Duration), machines: machines}
	c.scheduled.events = append(c.scheduled.events, p)
	c.scheduled.incarnation++
	c.after(e.Notice.Duration, func() { c.startEvent(p) })
	return p.id, nil
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
	if p.Type != "Preempt" && p.Type != "Terminate" {
		return
	}
	var victims []*instance
	for _, i := range p.machines {
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
func (c *Cloud) approveEvents(ids []string) bool {
	c.begin()
	defer c.end()
	known := true
	for _, id := range ids {
		n := slices.IndexFunc(c.scheduled.events, func(p *pendingEvent) bool { return p.id == id })
		if n < 0 {
			known = false
			continue
		}
		c.startEvent(c.scheduled.events[n])
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

func (c *Cloud) scheduledDocument() scheduledDocument {
	c.begin()
	defer c.end()
	doc := scheduledDocument{DocumentIncarnation: c.scheduled.incarnation, Events: []scheduledEntry{}}
	for _, p := range c.scheduled.events {
		e := scheduledEntry{EventID: p.id, EventStatus: "Scheduled", EventType: p.Type, ResourceType: "VirtualMachine", Resources: []string{}, EventSource: "Platform", DurationInSeconds: -1}
		if p.started {
			e.EventStatus = "Started"
		} else {
			e.NotBefore = p.notBefore.UTC().Format(http.TimeFormat)
		}
		for _, i := range p.machines {
			e.Resources = append(e.Resources, i.set.Name+"_"+i.id)
		}
		doc.Events = append(doc.Events, e)
	}
	return doc
}

func (c *Cloud) serveScheduledEvents(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodGet {
		writeJSON(w, http.StatusOK, c.scheduledDocument())
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
	if !c.approveEvents(ids) {
		imdsError(w, http.StatusBadRequest, "invalid_request", "An event of the approval does not exist")
		return
	}
	w.WriteHeader(http.StatusOK)
}
