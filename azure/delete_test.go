package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
	"github.com/tidegate-k3s/tidegate/capacity"
)

func TestDelete(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 4)}})
		refs := w.refs(t, "agents")
		victims := []capacity.Ref{refs[0], {ID: refs[2].ID, VMID: strings.ToUpper(refs[2].VMID)}}
		start := time.Now()
		wait, err := w.Delete(t.Context(), "agents", victims)
		if err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("Delete returned after %s, want as soon as Azure accepted", took)
		}
		if got := w.capacity(t, "agents"); got != 2 {
			t.Errorf("capacity %d, want Azure to have lowered it to 2", got)
		}
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := w.sent(http.MethodPost); n != 1 {
			t.Errorf("%d deletions were sent for two machines of a pool, want 1", n)
		}
		if diff := cmp.Diff([]capacity.Ref{refs[1], refs[3]}, w.refs(t, "agents")); diff != "" {
			t.Errorf("machines left (-want +got):\n%s", diff)
		}
		want := []string{"agents 0 deleteInstances by system", "agents 2 deleteInstances by system"}
		if diff := cmp.Diff(want, w.events(emulator.InstanceDeleting)); diff != "" {
			t.Errorf("deletions (-want +got):\n%s", diff)
		}

		// The same again: they are gone, and that is what was wanted.
		wait, err = w.Delete(t.Context(), "agents", victims)
		if err != nil {
			t.Fatalf("deleting what is gone: %v", err)
		}
		if wait != nil {
			t.Error("there is something to wait for after the deletion of what is gone")
		}
		if n := w.sent(http.MethodPost); n != 1 {
			t.Errorf("%d deletions were sent, want none for machines that are gone", n-1)
		}
	})
}

func TestDeleteRefused(t *testing.T) {
	const other = "00000000-1111-4222-8333-444444444444"
	cases := map[string]struct {
		change func([]capacity.Ref) []capacity.Ref
		master string
		fault  emulator.Fault
		want   string
		sent   int
	}{
		"the ID belongs to another VM now": {
			change: func(r []capacity.Ref) []capacity.Ref { r[1].VMID = other; return r },
			want:   "nothing was done: instance 1 is VM"},
		"no VMID": {
			change: func(r []capacity.Ref) []capacity.Ref { r[1].VMID = ""; return r },
			want:   "without ID or VMID"},
		"every instance": {
			change: func(r []capacity.Ref) []capacity.Ref { return append(r, capacity.Ref{ID: "*"}) },
			want:   "without ID or VMID"},
		"own set": {master: "agents", want: "holds Tidegate's own VM master: it is never changed"},
		"refused by Azure": {fault: answer(actionDelete, 409, "Conflict", "Not now.", 0), sent: 1,
			want: "delete instances of agents: Conflict (HTTP 409): Not now."},
		"fault of Azure's: not repeated blindly": {fault: answer(actionDelete, 500, "InternalError", "Oops.", 0), sent: 1,
			want: "InternalError (HTTP 500)"},
		"read too slowly to go by": {fault: emulator.Fault{Operation: actionReadInstances, Effect: emulator.Effect{Delay: metav1.Duration{Duration: freshFor + time.Second}}},
			want: "nothing was done: to read the instances took 21s"},
		"cannot be read": {fault: answer(actionReadInstances, 500, "InternalError", "Oops.", 0),
			want: "delete instances of agents: InternalError (HTTP 500)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{Master: emulator.Master{ScaleSet: tc.master}, ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
				refs := w.refs(t, "agents")
				if tc.change != nil {
					refs = tc.change(refs)
				}
				if tc.fault.Operation != "" {
					w.emulated.AddFaults(tc.fault)
				}
				_, err := w.Delete(t.Context(), "agents", refs)
				if err == nil || !strings.Contains(err.Error(), tc.want) {
					t.Errorf("error %v, want it to say %q", err, tc.want)
				}
				if gone := w.events(emulator.InstanceDeleting); len(gone) > 0 {
					t.Errorf("machines were deleted nevertheless: %v", gone)
				}
				if n := w.sent(http.MethodPost); n != tc.sent {
					t.Errorf("%d deletions were sent, want %d", n, tc.sent)
				}
			})
		})
	}
}

// An instance ID that has come back belongs to another machine.
func TestDeleteWithAnIDThatCameBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		set := tagged("agents", 2)
		set.ReuseIDs = true
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{set}})
		old := w.refs(t, "agents")[:1]
		for _, step := range []func() (func(context.Context) error, error){
			func() (func(context.Context) error, error) { return w.Delete(t.Context(), "agents", old) },
			func() (func(context.Context) error, error) { return w.Grow(t.Context(), "agents", 1, 2) },
		} {
			wait, err := step()
			if err != nil {
				t.Fatal(err)
			}
			if err := wait(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		before := w.refs(t, "agents")
		if _, err := w.Delete(t.Context(), "agents", old); err == nil || !strings.Contains(err.Error(), "nothing was done: instance 0 is VM") {
			t.Errorf("error %v, want that the ID is another machine's now", err)
		}
		if diff := cmp.Diff(before, w.refs(t, "agents")); diff != "" {
			t.Errorf("machines (-before +after):\n%s", diff)
		}
	})
}

// An answer that is lost after the deed is an error, and the next attempt
// waits for the deletion that is under way.
func TestDeleteAnswerLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 2)}})
		refs := w.refs(t, "agents")[:1]
		w.emulated.AddFaults(emulator.Fault{Operation: actionDelete, Count: 1, Effect: emulator.Effect{Drop: emulator.DropAfter}})
		if _, err := w.Delete(t.Context(), "agents", refs); err == nil || w.sent(http.MethodPost) != 1 {
			t.Fatalf("error %v after %d attempts, want an error after 1", err, w.sent(http.MethodPost))
		}
		wait, err := w.Delete(t.Context(), "agents", refs)
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"agents 0 deleteInstances by system"}, w.events(emulator.InstanceDeleted)); diff != "" {
			t.Errorf("deleted (-want +got):\n%s", diff)
		}
		if got := w.capacity(t, "agents"); got != 1 {
			t.Errorf("capacity %d, want 1", got)
		}
	})
}

// Whoever gave a machine up has to know whether Azure may delete it yet.
func TestDeleteWithoutAnswer(t *testing.T) {
	for name, tc := range map[string]struct {
		fault emulator.Fault
		want  bool
	}{
		"the connection breaks before":    {fault: emulator.Fault{Operation: actionDelete, Effect: emulator.Effect{Drop: emulator.DropBefore}}, want: true},
		"the connection breaks after":     {fault: emulator.Fault{Operation: actionDelete, Effect: emulator.Effect{Drop: emulator.DropAfter}}, want: true},
		"Azure has a fault":               {fault: answer(actionDelete, 503, "ServerBusy", "Oops.", 0), want: true},
		"Azure refuses":                   {fault: answer(actionDelete, 409, "Conflict", "Not now.", 0)},
		"Azure limits requests":           {fault: answer(actionDelete, 429, "TooManyRequests", "Slow down.", 10)},
		"the machines cannot be read":     {fault: emulator.Fault{Operation: actionReadInstances, Effect: emulator.Effect{Drop: emulator.DropBefore}}},
		"there is no token to ask with":   {fault: emulator.Fault{Operation: emulator.IMDSToken, Effect: emulator.Effect{Drop: emulator.DropBefore}}},
		"the token is not accepted":       {fault: answer(actionDelete, 401, "InvalidAuthenticationToken", "No.", 0)},
		"the role is missing all at once": {fault: answer(actionDelete, 403, "AuthorizationFailed", "No.", 0)},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
				refs := w.refs(t, "agents")
				w.emulated.AddFaults(tc.fault)
				time.Sleep(5 * time.Minute) // the token has expired
				_, err := w.Delete(t.Context(), "agents", refs)
				if got := errors.Is(err, capacity.ErrNoAnswer); err == nil || got != tc.want {
					t.Errorf("error %v says that it may be carried out all the same: %t, want %t", err, got, tc.want)
				}
			})
		})
	}
}

func TestDeleteFailsLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, emulator.Config{ScaleSets: []emulator.ScaleSet{tagged("agents", 1)}})
		late := emulator.LateAllocationFailure(time.Minute)
		late.Error = emulator.Error{Status: 409, Code: "OperationNotAllowed", Message: "A lock is in the way."}
		w.emulated.AddFaults(emulator.Fault{Operation: actionDelete, Effect: emulator.Effect{Late: late}})
		wait, err := w.Delete(t.Context(), "agents", w.refs(t, "agents"))
		if err != nil {
			t.Fatal(err)
		}
		if err := wait(t.Context()); err == nil || !strings.Contains(err.Error(), "delete instances of agents: OperationNotAllowed") || !strings.Contains(err.Error(), "A lock is in the way.") {
			t.Errorf("error %v, want Azure's", err)
		}
	})
}
