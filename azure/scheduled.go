package azure

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"
)

// scheduledEventsPath is where IMDS lists the scheduled events and takes
// approvals. Source: Azure documentation, "Scheduled Events for Linux VMs".
const scheduledEventsPath = "/metadata/scheduledevents?api-version=2020-07-01"

// scheduledTimeout bounds one question for the scheduled events. The first one
// of a machine switches the service on, which takes up to two minutes.
// Source: Azure documentation, "Scheduled Events for Linux VMs".
const scheduledTimeout = 150 * time.Second

// Metadata is the instance metadata service of the machine that the process
// runs on. It needs no identity.
type Metadata struct{ imds *imds }

// NewMetadata prepares the client from IMDSEndpoint and Transport. It sends
// nothing.
func NewMetadata(o Options) (*Metadata, error) {
	imds, err := newIMDS(o)
	if err != nil {
		return nil, err
	}
	imds.client.Timeout = scheduledTimeout
	return &Metadata{imds}, nil
}

// Machine says which machine this is.
func (m *Metadata) Machine(ctx context.Context) (Machine, error) {
	ctx, cancel := context.WithTimeout(ctx, imdsTimeout)
	defer cancel()
	return m.imds.machine(ctx)
}

// ScheduledEvent is one announcement of Azure.
type ScheduledEvent struct {
	ID string
	// Type is "Freeze", "Reboot", "Redeploy", "Preempt" or "Terminate".
	Type string
	// Started is true once it happens: then nobody can approve it any more.
	Started bool
	// Resources are the names of the machines that it is about, sorted.
	Resources []string
	// NotBefore is when it happens at the earliest; zero means that it may
	// happen at any moment.
	NotBefore time.Time
}

// ScheduledEvents lists what Azure announces to the machines of this one's
// placement group, not only to this one.
func (m *Metadata) ScheduledEvents(ctx context.Context) ([]ScheduledEvent, error) {
	var doc struct {
		Events []struct {
			EventID     string `json:"EventId"`
			EventStatus string
			EventType   string
			Resources   []string
			NotBefore   string
		}
	}
	if err := m.imds.get(ctx, scheduledEventsPath, &doc); err != nil {
		return nil, fmt.Errorf("read the scheduled events from IMDS: %w", err)
	}
	events := make([]ScheduledEvent, 0, len(doc.Events))
	for _, e := range doc.Events {
		slices.Sort(e.Resources)
		// Azure leaves the time out once the event has started. One that cannot
		// be read is no reason to wait for it.
		at, _ := http.ParseTime(e.NotBefore)
		events = append(events, ScheduledEvent{
			ID: e.EventID, Type: e.EventType, Started: e.EventStatus != "Scheduled", Resources: e.Resources, NotBefore: at,
		})
	}
	return events, nil
}

// Approve lets the event happen at once, to every machine that it lists.
func (m *Metadata) Approve(ctx context.Context, id string) error {
	type request struct {
		EventID string `json:"EventId"`
	}
	body, err := json.Marshal(map[string][]request{"StartRequests": {{id}}})
	if err == nil {
		_, err = m.imds.send(ctx, http.MethodPost, scheduledEventsPath, body)
	}
	if err != nil {
		return fmt.Errorf("approve scheduled event %s at IMDS: %w", id, err)
	}
	return nil
}
