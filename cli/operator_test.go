package cli

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/tidegate-k3s/tidegate/api"
)

func TestAsk(t *testing.T) {
	mark := api.Retirement{Reason: "an operator asked for it"}.Encode()
	restarting := api.Restart{Fate: api.FateRestart, VMID: "vm-1"}.Encode()
	for name, tc := range map[string]struct {
		wish    Wish
		node    *corev1.Node
		want    map[string]string // annotations afterwards, but for the VMID
		said    string
		wantErr string
	}{
		"retire":  {wish: Retire, node: agent(), want: map[string]string{api.RetireAnnotation: "delete"}, said: "is retired as soon as it is empty; tidegate retire agents000001 --undo"},
		"restart": {wish: Restart, node: agent(), want: map[string]string{api.RetireAnnotation: "restart"}, said: "is restarted as soon as it is empty"},
		"reimage": {wish: Reimage, node: agent(), want: map[string]string{api.RetireAnnotation: "reimage"}, said: "is reimaged as soon as it is empty"},
		"rather restart": {
			wish: Restart, node: agent(annotated(api.RetireAnnotation, "true")), want: map[string]string{api.RetireAnnotation: "restart"}, said: "is restarted",
		},
		"retire while it restarts": {
			wish: Retire, node: agent(annotated(api.RestartingAnnotation, restarting)), want: map[string]string{api.RestartingAnnotation: restarting},
			wantErr: "the restart of node agents000001 is committed",
		},
		"keep while it restarts": {
			wish: Keep, node: agent(annotated(api.RestartingAnnotation, restarting)),
			want: map[string]string{api.RestartingAnnotation: restarting, api.KeepAnnotation: "true"}, said: "is kept",
		},
		"retire again":   {wish: Retire, node: agent(annotated(api.RetireAnnotation, "true")), want: map[string]string{api.RetireAnnotation: "true"}, said: "already"},
		"retire a goner": {wish: Retire, node: agent(annotated(api.DeletingAnnotation, "vm-1")), want: map[string]string{api.DeletingAnnotation: "vm-1"}, said: "being deleted already"},
		"retire a kept node": {
			wish: Retire, node: agent(annotated(api.KeepAnnotation, "true")), want: map[string]string{api.KeepAnnotation: "true"},
			wantErr: "tidegate keep agents000001 --undo",
		},
		"retire a node that others keep": {
			wish: Retire, node: agent(annotated(api.DoNotDisruptAnnotation, "true")), want: map[string]string{api.DoNotDisruptAnnotation: "true"},
			wantErr: "annotation karpenter.sh/do-not-disrupt: remove that first",
		},
		"retire a server":          {wish: Retire, node: agent(labelled("node-role.kubernetes.io/control-plane", "true")), want: map[string]string{}, wantErr: "is a server"},
		"retire a node of no pool": {wish: Retire, node: agent(labelled(api.PoolLabel, "")), want: map[string]string{}, wantErr: "belongs to no pool"},
		"no longer retire takes the mark back too": {
			wish: UndoRetire, node: agent(annotated(api.RetireAnnotation, "true"), annotated(api.RetiringAnnotation, mark)), want: map[string]string{},
			said: "no longer asked to retire",
		},
		"no longer retire leaves a fence to the leader": {
			wish: UndoRetire, node: agent(annotated(api.RetireAnnotation, "true"), annotated(api.RetiringAnnotation, mark), labelled(api.RetiredLabel, "token")),
			want: map[string]string{api.RetiringAnnotation: mark}, said: "tidegate keep agents000001 saves it",
		},
		"no longer retire, if nobody asked": {
			wish: UndoRetire, node: agent(annotated(api.RetiringAnnotation, mark)), want: map[string]string{api.RetiringAnnotation: mark}, said: "was not asked",
		},
		"no longer retire, too late": {
			wish: UndoRetire, node: agent(annotated(api.RetireAnnotation, "true"), annotated(api.DeletingAnnotation, "vm-1")),
			want: map[string]string{api.RetireAnnotation: "true", api.DeletingAnnotation: "vm-1"}, wantErr: "nothing takes that back",
		},
		"keep":                        {wish: Keep, node: agent(), want: map[string]string{api.KeepAnnotation: "true"}, said: "tidegate keep agents000001 --undo"},
		"keep again":                  {wish: Keep, node: agent(annotated(api.KeepAnnotation, "true")), want: map[string]string{api.KeepAnnotation: "true"}, said: "already"},
		"keep is the later word":      {wish: Keep, node: agent(annotated(api.RetireAnnotation, "true")), want: map[string]string{api.KeepAnnotation: "true"}, said: "is kept"},
		"keep, too late":              {wish: Keep, node: agent(annotated(api.DeletingAnnotation, "vm-1")), want: map[string]string{api.DeletingAnnotation: "vm-1"}, wantErr: "nothing takes that back"},
		"no longer keep":              {wish: UndoKeep, node: agent(annotated(api.KeepAnnotation, "true")), want: map[string]string{}, said: "no longer kept"},
		"no longer keep, others do":   {wish: UndoKeep, node: agent(annotated(api.KeepAnnotation, "true"), annotated(api.ScaleDownDisabledAnnotation, "true")), want: map[string]string{api.ScaleDownDisabledAnnotation: "true"}, said: "still kept by its annotation cluster-autoscaler"},
		"no longer keep, nobody does": {wish: UndoKeep, node: agent(), want: map[string]string{}, said: "was not kept"},
	} {
		t.Run(name, func(t *testing.T) {
			client := fake.NewClientset(tc.node)
			said, err := Ask(t.Context(), client, tc.node.Name, tc.wish)
			if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
				t.Errorf("error %v, want one that says %q", err, tc.wantErr)
			}
			if !strings.Contains(said, tc.said) {
				t.Errorf("said %q, want %q in it", said, tc.said)
			}
			n, err := client.CoreV1().Nodes().Get(t.Context(), tc.node.Name, metav1.GetOptions{})
			if err != nil {
				t.Fatal(err)
			}
			delete(n.Annotations, api.VMIDAnnotation)
			if diff := cmp.Diff(tc.want, n.Annotations); diff != "" {
				t.Errorf("annotations (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAskOfANodeThatIsNotThere(t *testing.T) {
	if _, err := Ask(t.Context(), fake.NewClientset(), "agents000009", Keep); err == nil || !strings.Contains(err.Error(), `no node "agents000009": tidegate status`) {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

// A node that changes in between is judged anew.
func TestAskLooksAgainAfterAConflict(t *testing.T) {
	client := fake.NewClientset(agent())
	conflicts := 0
	client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		if conflicts++; conflicts > 1 {
			return false, nil, nil
		}
		n := agent(annotated(api.KeepAnnotation, "true"))
		if err := client.Tracker().Update(corev1.SchemeGroupVersion.WithResource("nodes"), n, ""); err != nil {
			t.Error(err)
		}
		return true, nil, apierrors.NewConflict(corev1.Resource("nodes"), n.Name, nil)
	})
	if _, err := Ask(t.Context(), client, "agents000001", Retire); err == nil || !strings.Contains(err.Error(), "is kept") {
		t.Errorf("error %v, want that the node is kept by now", err)
	}
}

func TestAskWithoutTheRight(t *testing.T) {
	client := fake.NewClientset(agent())
	client.PrependReactor("patch", "nodes", func(clienttesting.Action) (bool, runtime.Object, error) {
		return true, nil, apierrors.NewForbidden(corev1.Resource("nodes"), "agents000001", nil)
	})
	if _, err := Ask(t.Context(), client, "agents000001", Keep); !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "use a kubeconfig that may patch nodes") {
		t.Errorf("error %v, want one that says what to do", err)
	}
}

func TestPauseAndResume(t *testing.T) {
	forbidden := func(client *fake.Clientset) {
		client.PrependReactor("patch", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(corev1.Resource("configmaps"), api.StatusConfigMap, nil)
		})
	}
	noNamespace := func(client *fake.Clientset) {
		client.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewNotFound(corev1.Resource("namespaces"), api.Namespace)
		})
	}
	paused := map[string]string{api.ObserveOnlyAnnotation: "true"}
	for name, tc := range map[string]struct {
		resume   bool
		objects  []runtime.Object
		hindered func(*fake.Clientset)
		want     map[string]string
		said     string
		wantErr  string
	}{
		"the leader confirms":               {objects: []runtime.Object{published(nil, `{"observeOnly":true}`)}, want: paused, said: "until tidegate resume; pods at the gate stay there"},
		"no leader confirms":                {objects: []runtime.Object{published(nil, `{}`)}, want: paused, said: "has not confirmed"},
		"before Tidegate's first start":     {want: paused, said: "has not confirmed"},
		"not installed":                     {hindered: noNamespace, wantErr: "install Tidegate first"},
		"without the right":                 {objects: []runtime.Object{published(nil, `{}`)}, hindered: forbidden, wantErr: "use a kubeconfig that may patch ConfigMaps in tidegate-system"},
		"resume, confirmed":                 {resume: true, objects: []runtime.Object{published(paused, `{}`)}, said: "resumed"},
		"resume, against the leader's flag": {resume: true, objects: []runtime.Object{published(paused, `{"observeOnly":true}`)}, said: "--observe-only"},
		"resume, never installed":           {resume: true, said: "has not confirmed"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				client := fake.NewClientset(tc.objects...)
				if tc.hindered != nil {
					tc.hindered(client)
				}
				do := Pause
				if tc.resume {
					do = Resume
				}
				started := time.Now()
				said, err := do(t.Context(), client)
				if tc.wantErr == "" && err != nil || tc.wantErr != "" && (err == nil || !strings.Contains(err.Error(), tc.wantErr)) {
					t.Errorf("error %v, want one that says %q", err, tc.wantErr)
				}
				if !strings.Contains(said, tc.said) {
					t.Errorf("said %q, want %q in it", said, tc.said)
				}
				if took := time.Since(started); took > confirmation+time.Second {
					t.Errorf("took %s", took)
				}
				configMap, err := readPublished(t.Context(), client)
				if err != nil {
					t.Fatal(err)
				}
				var got map[string]string
				if configMap != nil {
					got = configMap.Annotations
				}
				if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
					t.Errorf("annotations (-want +got):\n%s", diff)
				}
			})
		})
	}
}
