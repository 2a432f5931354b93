package doctor

import (
	"context"
	"errors"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/cli"
)

func TestFence(t *testing.T) {
	policy := func(change ...func(*admissionv1.ValidatingAdmissionPolicy)) client.Object {
		return manifest(t, "ValidatingAdmissionPolicy", api.FencePolicy, &admissionv1.ValidatingAdmissionPolicy{}, change...)
	}
	binding := func(change ...func(*admissionv1.ValidatingAdmissionPolicyBinding)) client.Object {
		return manifest(t, "ValidatingAdmissionPolicyBinding", api.FencePolicy, &admissionv1.ValidatingAdmissionPolicyBinding{}, change...)
	}
	// What the API server fills in.
	defaults := func(p *admissionv1.ValidatingAdmissionPolicy) {
		scope, equivalent := admissionv1.AllScopes, admissionv1.Equivalent
		p.Spec.MatchConstraints.NamespaceSelector, p.Spec.MatchConstraints.ObjectSelector = &metav1.LabelSelector{}, &metav1.LabelSelector{}
		p.Spec.MatchConstraints.MatchPolicy = &equivalent
		for i := range p.Spec.MatchConstraints.ResourceRules {
			p.Spec.MatchConstraints.ResourceRules[i].Scope = &scope
		}
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		want    Verdict
		detail  string
	}{
		"as applied": {[]client.Object{policy(defaults), binding()}, OK, ""},
		"no policy":  {[]client.Object{binding()}, Failed, "ValidatingAdmissionPolicy tidegate-fence is missing"},
		"no binding": {[]client.Object{policy()}, Failed, "ValidatingAdmissionPolicyBinding tidegate-fence is missing"},
		"only audited": {[]client.Object{policy(), binding(func(b *admissionv1.ValidatingAdmissionPolicyBinding) {
			b.Spec.ValidationActions = []admissionv1.ValidationAction{admissionv1.Audit}
		})}, Failed, "Binding tidegate-fence was changed"},
		"ignores errors": {[]client.Object{policy(func(p *admissionv1.ValidatingAdmissionPolicy) {
			ignore := admissionv1.Ignore
			p.Spec.FailurePolicy = &ignore
		}), binding()}, Failed, "was changed"},
		"another expression": {[]client.Object{policy(func(p *admissionv1.ValidatingAdmissionPolicy) { p.Spec.Validations[0].Expression = "true" }), binding()}, Failed, "was changed"},
		"narrowed": {[]client.Object{policy(func(p *admissionv1.ValidatingAdmissionPolicy) {
			p.Spec.MatchConstraints.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}
		}), binding()}, Failed, "was changed"},
		"an older way to bind left out": {[]client.Object{policy(func(p *admissionv1.ValidatingAdmissionPolicy) {
			rule := &p.Spec.MatchConstraints.ResourceRules[0]
			rule.Resources = rule.Resources[:1]
		}), binding()}, Failed, "was changed"},
	} {
		t.Run(name, func(t *testing.T) {
			fix := ""
			if tc.want != OK {
				fix = "kubectl apply -k manifests"
			}
			expect(t, fence(t.Context(), patient(t, interceptor.Funcs{}, tc.objects...)), tc.want, tc.detail, fix)
		})
	}
}

func TestWebhook(t *testing.T) {
	refused := func(err error) func(client.Object) error { return func(client.Object) error { return err } }
	for name, tc := range map[string]struct {
		admit       func(client.Object) error
		want        Verdict
		detail, fix string
	}{
		"gates": {func(o client.Object) error {
			o.(*corev1.Pod).Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: api.CapacityGate}}
			return nil
		}, OK, "is gated", ""},
		"does not gate":     {refused(nil), Failed, "is not gated", "kubectl apply -k manifests"},
		"is not reachable":  {refused(apierrors.NewInternalError(errors.New("failed calling webhook \"gate.tidegate.io\": connection refused"))), Failed, "connection refused", "workloads"},
		"may not be asked":  {refused(apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("no role"))), Unknown, "no role", "kubeconfig"},
		"something refuses": {refused(apierrors.NewBadRequest("policy")), Failed, "policy", "the text"},
	} {
		t.Run(name, func(t *testing.T) {
			p := patient(t, interceptor.Funcs{Create: func(_ context.Context, _ client.WithWatch, o client.Object, opts ...client.CreateOption) error {
				var options client.CreateOptions
				options.ApplyOptions(opts)
				if len(options.DryRun) != 1 || o.GetAnnotations()[api.GateKey] != "true" {
					t.Errorf("it would create %v with %v", o, options.DryRun)
				}
				return tc.admit(o)
			}})
			expect(t, webhook(t.Context(), p), tc.want, tc.detail, tc.fix)
		})
	}
}

func certificate(change func(*cmapi.Certificate)) *cmapi.Certificate {
	c := &cmapi.Certificate{ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: "serving"}}
	c.Status.Conditions = []cmapi.CertificateCondition{{Type: cmapi.CertificateConditionReady, Status: cmmeta.ConditionTrue}}
	c.Status.NotAfter, c.Status.RenewalTime = &metav1.Time{Time: noon.Add(48 * time.Hour)}, &metav1.Time{Time: noon.Add(time.Hour)}
	change(c)
	return c
}

func TestCertificates(t *testing.T) {
	injected := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "tidegate", Annotations: map[string]string{cmapi.WantInjectAnnotation: "tidegate-system/serving"}},
		Webhooks:   []admissionv1.MutatingWebhook{{Name: "gate.tidegate.io"}},
	}
	absent := interceptor.Funcs{List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, opts ...client.ListOption) error {
		if _, is := list.(*cmapi.CertificateList); is {
			return &meta.NoKindMatchError{}
		}
		return c.List(ctx, list, opts...)
	}}
	for name, tc := range map[string]struct {
		funcs   interceptor.Funcs
		objects []client.Object
		want    Verdict
		detail  string
	}{
		"issued": {objects: []client.Object{certificate(func(*cmapi.Certificate) {})}, want: OK, detail: "1 are issued"},
		"waiting": {objects: []client.Object{certificate(func(c *cmapi.Certificate) {
			c.Status.Conditions[0].Status, c.Status.Conditions[0].Message = cmmeta.ConditionFalse, "Issuing certificate"
		})}, want: Failed, detail: "tidegate-system/serving is not ready: Issuing certificate"},
		"not looked at":          {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.Conditions = nil })}, want: Failed, detail: "has not been looked at"},
		"run out":                {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.NotAfter.Time = noon.Add(-time.Hour) })}, want: Failed, detail: "ran out on 2026-03-01"},
		"overdue":                {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.RenewalTime.Time = noon.Add(-3 * time.Hour) })}, want: Failed, detail: "should have been renewed"},
		"a little late":          {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.RenewalTime.Time = noon.Add(-time.Hour) })}, want: OK},
		"cert-manager is absent": {funcs: absent, objects: []client.Object{injected}, want: Failed, detail: "is to come from the Certificate tidegate-system/serving"},
		"own certificates":       {funcs: absent, want: OK, detail: "not used"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, certificates(t.Context(), patient(t, tc.funcs, tc.objects...)), tc.want, tc.detail, "")
		})
	}
}

func TestAuthority(t *testing.T) {
	const name = "tidegate.tidegate-system.svc"
	ca, leaf := authorityFor(t, name)
	otherCA, _ := authorityFor(t, name)
	_, otherName := authorityFor(t, "elsewhere.tidegate-system.svc")
	for name, tc := range map[string]struct {
		bundle, served []byte
		late           time.Duration
		want           Verdict
		detail         string
	}{
		"trusted":           {bundle: ca, served: leaf, want: OK},
		"no authority":      {served: leaf, want: Failed, detail: "has no authority"},
		"another authority": {bundle: otherCA, served: leaf, want: Failed, detail: "unknown authority"},
		"another name":      {bundle: append(ca, otherCA...), served: otherName, want: Failed},
		"run out":           {bundle: ca, served: leaf, late: 2 * time.Hour, want: Failed, detail: "expired"},
		"no certificate":    {bundle: ca, served: []byte("?"), want: Failed, detail: "holds no certificate"},
		"not issued yet":    {bundle: ca, want: OK},
	} {
		t.Run(name, func(t *testing.T) {
			objects := []client.Object{
				&admissionv1.MutatingWebhookConfiguration{
					ObjectMeta: metav1.ObjectMeta{Name: "tidegate"},
					Webhooks: []admissionv1.MutatingWebhook{{Name: "gate.tidegate.io", ClientConfig: admissionv1.WebhookClientConfig{
						CABundle: tc.bundle, Service: &admissionv1.ServiceReference{Namespace: api.Namespace, Name: "tidegate"},
					}}},
				},
				certificate(func(c *cmapi.Certificate) {
					c.Spec.SecretName, c.Spec.DNSNames = "serving-tls", []string{"tidegate.tidegate-system.svc"}
				}),
			}
			if tc.served != nil {
				objects = append(objects, &corev1.Secret{
					ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: "serving-tls"}, Data: map[string][]byte{corev1.TLSCertKey: tc.served},
				})
			}
			p := patient(t, interceptor.Funcs{}, objects...)
			p.Server.Time = noon.Add(tc.late)
			expect(t, authority(t.Context(), p), tc.want, tc.detail, "")
		})
	}
}

func TestScheduler(t *testing.T) {
	server := func(name, args string) corev1.Node {
		return corev1.Node{ObjectMeta: metav1.ObjectMeta{
			Name: name, Labels: map[string]string{"node-role.kubernetes.io/control-plane": "true"}, Annotations: map[string]string{nodeArgs: args},
		}}
	}
	for name, tc := range map[string]struct {
		nodes       []corev1.Node
		want        Verdict
		detail, fix string
	}{
		"configured":               {[]corev1.Node{server("a", `["server","--kube-scheduler-arg","config=/etc/x.yaml"]`)}, OK, "1 servers", ""},
		"configured in one word":   {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=config=/etc/x.yaml"]`)}, OK, "1 servers", ""},
		"one of two":               {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=config=/etc/x.yaml"]`), server("b", `["server","--kube-scheduler-arg","v=4"]`)}, Failed, ": b", "tidegate k3s install"},
		"unreadable":               {[]corev1.Node{server("a", `server`)}, Failed, ": a", ""},
		"an argument that is last": {[]corev1.Node{server("a", `["server","--kube-scheduler-arg"]`)}, Failed, ": a", ""},
		"agents do not count":      {[]corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "agent", Annotations: map[string]string{nodeArgs: `["agent"]`}}}}, Unknown, "no node says", "extender"},
	} {
		t.Run(name, func(t *testing.T) { expect(t, scheduler(tc.nodes), tc.want, tc.detail, tc.fix) })
	}
}

func TestAutoscalers(t *testing.T) {
	report := cli.Report{Pools: []cli.PoolReport{{PoolStatus: api.PoolStatus{Name: "agents"}}}}
	for name, tc := range map[string]struct {
		status string
		want   Verdict
	}{
		"none":              {"", OK},
		"of other sets":     {"nodeGroups:\n- name: others\n  health:\n    status: Healthy\n", OK},
		"of a pool":         {"nodeGroups:\n- name: others\n- name: Agents\n", Failed},
		"of a pool, of old": {"NodeGroups:\n  Name:        agents\n  Health:      Healthy\n", Failed},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []client.Object
			if tc.status != "" {
				objects = append(objects, &corev1.ConfigMap{
					ObjectMeta: metav1.ObjectMeta{Namespace: metav1.NamespaceSystem, Name: "cluster-autoscaler-status"}, Data: map[string]string{"status": tc.status},
				})
			}
			expect(t, autoscalers(t.Context(), patient(t, interceptor.Funcs{}, objects...), report), tc.want, "", "")
		})
	}
}

// A right that is missing hinders its own checks only, and is named.
func TestWithoutRights(t *testing.T) {
	forbidden := apierrors.NewForbidden(corev1.Resource("things"), "", errors.New("no role"))
	p := patient(t, interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return forbidden
		},
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return forbidden
		},
		Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return forbidden },
	})
	unknown := 0
	for _, f := range Examine(t.Context(), p) {
		if f.Check == "" || f.Detail == "" || (f.Verdict == OK) != (f.Fix == "") {
			t.Errorf("found %+v", f)
		}
		if f.Verdict == Unknown {
			unknown++
		}
	}
	if want := 8; unknown != want { // clocks, workloads, fence, webhook, certificates, authority, scheduler, autoscalers
		t.Errorf("%d checks could not be made, want %d", unknown, want)
	}
}
