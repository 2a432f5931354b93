package emulator

import (
	"encoding/json"
	"net/http"
)

// adminHandler serves what only the emulator has, for tests and demos that
// watch it from another process:
//
//	GET    /emulator/history          every Event, oldest first
//	GET    /emulator/vms              every VM that exists
//	POST   /emulator/faults           adds a list of Fault
//	DELETE /emulator/faults           clears the faults
//	GET    /emulator/roles            the role assignments
//	POST   /emulator/roles            replaces them by a list of RoleAssignment
//	POST   /emulator/scheduledevents  announces a ScheduledEvent
//
// Below /emulator/vms/VMID each machine has an IMDS of its own; see IMDSPath.
func (c *Cloud) adminHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /emulator/history", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, emptyList(c.History())) })
	mux.HandleFunc("GET /emulator/vms", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, emptyList(c.VMs())) })
	mux.HandleFunc("GET /emulator/roles", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, emptyList(c.Roles())) })
	mux.HandleFunc("POST /emulator/faults", post(func(faults []Fault) error {
		c.AddFaults(faults...)
		return nil
	}))
	mux.HandleFunc("DELETE /emulator/faults", func(w http.ResponseWriter, _ *http.Request) {
		c.ClearFaults()
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST /emulator/roles", post(c.SetRoles))
	mux.HandleFunc("POST /emulator/scheduledevents", post(func(e ScheduledEvent) error {
		_, err := c.Schedule(e)
		return err
	}))
	return mux
}

// emptyList makes a list without items [] and not null.
func emptyList[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

func post[T any](do func(T) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var body T
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
		d.DisallowUnknownFields()
		err := d.Decode(&body)
		if err == nil {
			err = do(body)
		}
		if err != nil {
			writeJSON(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
