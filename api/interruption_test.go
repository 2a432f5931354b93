package api

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func preempt(change func(*Interruption)) Interruption {
	i := Interruption{
		ID: "e1", Type: InterruptionPreempt, Resources: []string{"agents_1", "agents_2"},
		NotBefore: metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 30, 0, time.UTC)),
	}
	if change != nil {
		change(&i)
	}
	return i
}

func nodeThatSays(annotation, value string) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{annotation: value}}}
}

func TestInterruptionsSurviveTheAnnotation(t *testing.T) {
	want := []Interruption{preempt(nil), preempt(func(i *Interruption) { i.ID, i.Type = "e2", InterruptionReboot })}
	node := nodeThatSays(InterruptionsAnnotation, EncodeInterruptions(want))
	if diff := cmp.Diff(want, Interruptions(node)); diff != "" {
		t.Errorf("interruptions (-want +got):\n%s", diff)
	}
	if got := ApprovedInterruptions(node); got != nil {
		t.Errorf("what is reported counts as approved: %+v", got)
	}
	if got := EncodeInterruptions(nil); got != "" {
		t.Errorf("no interruptions are %q", got)
	}
}

func TestWhatIsNoInterruptionIsNotSaid(t *testing.T) {
	for name, value := range map[string]string{
		"no JSON":         "Preempt",
		"no list":         `{"id":"e1"}`,
		"a freeze":        `[{"id":"e1","type":"Freeze","resources":["agents_1"],"notBefore":"2026-03-01T12:00:30Z"}]`,
		"without a time":  `[{"id":"e1","type":"Preempt","resources":["agents_1"]}]`,
		"without an ID":   `[{"type":"Preempt","resources":["agents_1"],"notBefore":"2026-03-01T12:00:30Z"}]`,
		"an empty list":   `[]`,
		"an empty string": ``,
	} {
		t.Run(name, func(t *testing.T) {
			node := nodeThatSays(InterruptionsAnnotation, value)
			if got := Interruptions(node); got != nil {
				t.Errorf("read as %+v", got)
			}
			if Interrupted(node, time.Time{}) {
				t.Error("the node counts as interrupted")
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	at := preempt(nil).NotBefore.Time
	node := nodeThatSays(InterruptionsAnnotation, EncodeInterruptions([]Interruption{preempt(nil)}))
	for name, tc := range map[string]struct {
		now  time.Time
		want bool
	}{
		"announced": {at.Add(-30 * time.Second), true},
		"late":      {at.Add(59 * time.Minute), true},
		"forgotten": {at.Add(time.Hour), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := Interrupted(node, tc.now); got != tc.want {
				t.Errorf("interrupted %t, want %t", got, tc.want)
			}
		})
	}
	if Interrupted(&corev1.Node{}, at) {
		t.Error("a node without a report is interrupted")
	}
}

func TestInterruptionCovers(t *testing.T) {
	for machine, want := range map[string]bool{"agents_1": true, "AGENTS_2": true, "agents_12": false, "agents": false, "": false} {
		if got := preempt(nil).Covers(machine); got != want {
			t.Errorf("covers %q: %t, want %t", machine, got, want)
		}
	}
}

// An approval is for what was reported: any difference makes it another event.
func TestSameInterruption(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*Interruption)
		want   bool
	}{
		"the same":          {nil, true},
		"in another zone":   {func(i *Interruption) { i.NotBefore = metav1.NewTime(i.NotBefore.In(time.FixedZone("", 3600))) }, true},
		"another event":     {func(i *Interruption) { i.ID = "e2" }, false},
		"another type":      {func(i *Interruption) { i.Type = InterruptionReboot }, false},
		"another time":      {func(i *Interruption) { i.NotBefore = metav1.NewTime(i.NotBefore.Add(time.Second)) }, false},
		"one machine more":  {func(i *Interruption) { i.Resources = append(i.Resources, "agents_3") }, false},
		"one machine fewer": {func(i *Interruption) { i.Resources = i.Resources[:1] }, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := preempt(nil).Same(preempt(tc.change)); got != tc.want {
				t.Errorf("same %t, want %t", got, tc.want)
			}
		})
	}
}

func TestInterruptionTypes(t *testing.T) {
	type kind struct{ Interrupts, Returns bool }
	got := map[string]kind{}
	for _, name := range []string{"Preempt", "Terminate", "Redeploy", "Reboot", "Freeze", "preempt", ""} {
		got[name] = kind{Interrupts(name), Returns(name)}
	}
	want := map[string]kind{
		"Preempt": {true, false}, "Terminate": {true, false}, "Redeploy": {true, true}, "Reboot": {true, true},
		"Freeze": {}, "preempt": {}, "": {},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("types (-want +got):\n%s", diff)
	}
}

// FuzzInterruptions holds the parser to its promise: what it returns is whole
// and is read again as it was.
func FuzzInterruptions(f *testing.F) {
	f.Add(EncodeInterruptions([]Interruption{preempt(nil)}))
	f.Add(`[{"id":"e","type":"Reboot","notBefore":"9999-12-31T23:59:59Z"}]`)
	f.Add(`[null,{}]`)
	f.Fuzz(func(t *testing.T, value string) {
		list := Interruptions(nodeThatSays(InterruptionsAnnotation, value))
		for _, i := range list {
			if i.ID == "" || !Interrupts(i.Type) || i.NotBefore.IsZero() {
				t.Errorf("half an interruption: %+v", i)
			}
		}
		again := Interruptions(nodeThatSays(InterruptionsAnnotation, EncodeInterruptions(list)))
		if len(again) != len(list) {
			t.Fatalf("%d interruptions became %d", len(list), len(again))
		}
		for n := range list {
			if !again[n].Same(list[n]) {
				t.Errorf("%+v became %+v", list[n], again[n])
			}
		}
	})
}
