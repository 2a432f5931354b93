package azure

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

// metadata returns the metadata service of the first machine of the emulator.
func (w *world) metadata(t *testing.T) *Metadata {
	t.Helper()
	m, err := NewMetadata(Options{IMDSEndpoint: "http://" + imdsHost + emulator.IMDSPath(w.emulated.VMs()[0].VMID), Transport: w})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestScheduledEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 12)}})
		m := w.metadata(t)
		machine, err := m.Machine(t.Context())
		if err != nil || machine.Name != "agents_0" {
			t.Fatalf("the machine is %q, %v; want agents_0", machine.Name, err)
		}
		instances, err := w.Instances(t.Context(), "agents")
		if err != nil || instances[11].Name != "agents_11" {
			t.Fatalf("the machine with ID 11 is named %q (%v), want the name that events have", instances[11].Name, err)
		}
		read := func(want ...ScheduledEvent) {
			t.Helper()
			got, err := m.ScheduledEvents(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(append([]ScheduledEvent{}, want...), got); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		}
		read()
		id, err := w.emulated.Schedule(emulator.ScheduledEvent{Type: "Reboot", Set: "agents", InstanceIDs: []string{"2", "11"}, Notice: metav1.Duration{Duration: time.Hour}})
		if err != nil {
			t.Fatal(err)
		}
		event := ScheduledEvent{ID: id, Type: "Reboot", Resources: []string{"agents_11", "agents_2"}, NotBefore: time.Now().Add(time.Hour).UTC()}
		read(event)
		if err := m.Approve(t.Context(), id); err != nil {
			t.Fatal(err)
		}
		event.Started, event.NotBefore = true, time.Time{}
		read(event)
	})
}

func TestMetadataFailures(t *testing.T) {
	w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
	m := w.metadata(t)
	if err := m.Approve(t.Context(), "nothing"); err == nil || !strings.Contains(err.Error(), "approve scheduled event nothing at IMDS: HTTP 400") {
		t.Errorf("approving what does not exist: %v", err)
	}
	w.emulated.AddFaults(emulator.Fault{Operation: emulator.IMDSScheduledEvents, Effect: emulator.Effect{Error: &emulator.Error{Status: http.StatusInternalServerError, Code: "oops"}}})
	if _, err := m.ScheduledEvents(t.Context()); err == nil || !strings.Contains(err.Error(), "read the scheduled events from IMDS: HTTP 500") {
		t.Errorf("reading them while IMDS fails: %v", err)
	}
}

// The first question of a machine takes Azure up to two minutes.
func TestFirstQuestionMayTakeTwoMinutes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
		m, err := NewMetadata(Options{IMDSEndpoint: "http://" + imdsHost, Transport: slow{w, 2 * time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.ScheduledEvents(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

// slow is a transport that takes its time, unless its caller has less.
type slow struct {
	http.RoundTripper
	delay time.Duration
}

func (s slow) RoundTrip(req *http.Request) (*http.Response, error) {
	select {
	case <-time.After(s.delay):
		return s.RoundTripper.RoundTrip(req)
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}
