package emulator_test

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

const instancePath = "/metadata/instance?api-version=2021-02-01"

var metadata = map[string]string{"Metadata": "true"}

func TestInstanceMetadata(t *testing.T) {
	w := virtual(t, emulator.Config{ResourceGroup: "Farm", Master: emulator.Master{Name: "boss", VMID: "b055"}})
	a := w.do(t, http.MethodGet, w.imds+instancePath, "", metadata)
	compute, _ := a.body["compute"].(map[string]any)
	want := map[string]any{
		"subscriptionId": subscription, "resourceGroupName": "Farm", "name": "boss", "vmId": "b055",
		"location": "westeurope", "azEnvironment": "AzurePublicCloud", "vmScaleSetName": "", "vmSize": "Standard_D2s_v5",
		"resourceId": "/subscriptions/" + subscription + "/resourceGroups/Farm/providers/Microsoft.Compute/virtualMachines/boss",
	}
	for k, v := range want {
		if compute[k] != v {
			t.Errorf("compute.%s is %v, want %v", k, compute[k], v)
		}
	}
}

func TestMasterWithinAScaleSet(t *testing.T) {
	w := virtual(t, emulator.Config{
		Master:    emulator.Master{ScaleSet: "Servers"},
		ScaleSets: []emulator.ScaleSet{{Name: "servers", Capacity: 1}},
	})
	compute, _ := w.do(t, http.MethodGet, w.imds+instancePath, "", metadata).body["compute"].(map[string]any)
	if vm := w.cloud.VMs()[0]; compute["vmId"] != vm.VMID || compute["vmScaleSetName"] != "Servers" {
		t.Errorf("IMDS says %v of %v, the set's machine is %s", compute["vmId"], compute["vmScaleSetName"], vm.VMID)
	}
}

func TestIMDSRefusals(t *testing.T) {
	const token = "/metadata/identity/oauth2/token?api-version=2018-02-01"
	cases := map[string]struct {
		method, path string
		header       map[string]string
		status       int
	}{
		"no Metadata header":     {path: instancePath, status: http.StatusBadRequest},
		"forwarded":              {path: instancePath, header: map[string]string{"Metadata": "true", "X-Forwarded-For": "10.0.0.1"}, status: http.StatusBadRequest},
		"no api-version":         {path: "/metadata/instance", header: metadata, status: http.StatusBadRequest},
		"old api-version":        {path: "/metadata/instance?api-version=2017-04-02", header: metadata, status: http.StatusBadRequest},
		"write":                  {method: http.MethodPost, path: instancePath, header: metadata, status: http.StatusMethodNotAllowed},
		"unknown path":           {path: "/metadata/nothing?api-version=2021-02-01", header: metadata, status: http.StatusNotFound},
		"token without resource": {path: token, header: metadata, status: http.StatusBadRequest},
		"bad approval":           {method: http.MethodPost, path: "/metadata/scheduledevents?api-version=2020-07-01", header: metadata, status: http.StatusBadRequest},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			w := virtual(t, emulator.Config{})
			if tc.method == "" {
				tc.method = http.MethodGet
			}
			a := w.do(t, tc.method, w.imds+tc.path, "", tc.header)
			if a.status != tc.status || a.body["error"] == "" || a.body["error_description"] == "" {
				t.Errorf("got %d %s, want %d with an error and a description", a.status, a.text, tc.status)
			}
		})
	}
}

func TestIMDSServesFiveRequestsASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := virtual(t, emulator.Config{})
		for range 5 {
			if a := w.do(t, http.MethodGet, w.imds+instancePath, "", metadata); a.status != http.StatusOK {
				t.Fatalf("got %d %s", a.status, a.text)
			}
		}
		if a := w.do(t, http.MethodGet, w.imds+instancePath, "", metadata); a.status != http.StatusTooManyRequests || a.header.Get("Retry-After") != "1" {
			t.Errorf("sixth request: %d %v, want 429 and Retry-After: 1", a.status, a.header)
		}
		time.Sleep(time.Second)
		if a := w.do(t, http.MethodGet, w.imds+instancePath, "", metadata); a.status != http.StatusOK {
			t.Errorf("a second later: %d %s", a.status, a.text)
		}
	})
}

func TestScheduledEvents(t *testing.T) {
	const path = "/metadata/scheduledevents?api-version=2020-07-01"
	cases := map[string]struct {
		approve bool
		after   time.Duration // until the machine is taken
	}{
		"approved":     {approve: true},
		"not approved": {after: 30 * time.Second},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents", Capacity: 2, Spot: true}}})
				read := func() (incarnation float64, events []any) {
					a := w.do(t, http.MethodGet, w.imds+path, "", metadata)
					events, ok := a.body["Events"].([]any)
					if a.status != http.StatusOK || !ok {
						t.Fatalf("scheduled events: %d %s", a.status, a.text)
					}
					return a.body["DocumentIncarnation"].(float64), events
				}
				quiet, events := read()
				if len(events) != 0 {
					t.Fatalf("events before any was announced: %v", events)
				}
				id, err := w.cloud.Schedule(emulator.ScheduledEvent{Type: "Preempt", Set: "agents", InstanceIDs: []string{"1"}, Notice: metav1.Duration{Duration: 30 * time.Second}})
				if err != nil {
					t.Fatal(err)
				}
				announced, events := read()
				want := []any{map[string]any{
					"EventId": id, "EventStatus": "Scheduled", "EventType": "Preempt", "ResourceType": "VirtualMachine", "Resources": []any{"agents_1"},
					"NotBefore": time.Now().Add(30 * time.Second).UTC().Format(http.TimeFormat), "Description": "", "EventSource": "Platform", "DurationInSeconds": -1.0,
				}}
				if diff := cmp.Diff(want, events); diff != "" || announced == quiet {
					t.Errorf("incarnation %v, was %v; events (-want +got):\n%s", announced, quiet, diff)
				}
				if tc.approve {
					if a := w.do(t, http.MethodPost, w.imds+path, `{"StartRequests":[{"EventId":"`+id+`"}]}`, metadata); a.status != http.StatusOK {
						t.Fatalf("approval: %d %s", a.status, a.text)
					}
				} else {
					time.Sleep(tc.after)
				}
				started, events := read()
				if len(events) != 1 || events[0].(map[string]any)["EventStatus"] != "Started" || started == announced {
					t.Errorf("after the start: incarnation %v, was %v; %v", started, announced, events)
				}
				var taken []string
				for _, e := range w.cloud.History() {
					if e.Kind == emulator.InstanceDeleting {
						taken = append(taken, e.InstanceID+" "+string(e.How))
					}
				}
				if diff := cmp.Diff([]string{"1 scheduledEvent"}, taken); diff != "" {
					t.Errorf("machines taken (-want +got):\n%s", diff)
				}
				time.Sleep(time.Minute)
				if _, events := read(); len(events) != 0 {
					t.Errorf("events when it is over: %v", events)
				}
				if a := w.do(t, http.MethodPost, w.imds+path, `{"StartRequests":[{"EventId":"`+id+`"}]}`, metadata); a.status != http.StatusBadRequest || !strings.Contains(a.text, "does not exist") {
					t.Errorf("approval of an event that is over: %d %s", a.status, a.text)
				}
			})
		})
	}
}
