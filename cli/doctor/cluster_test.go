package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	cmmeta "github.com/cert-manager/cert-manager/pkg/apis/meta/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
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

func TestAgents(t *testing.T) {
	binding := manifest(t, "ValidatingAdmissionPolicyBinding", api.AgentPolicy, &admissionv1.ValidatingAdmissionPolicyBinding{})
	account := manifest(t, "ClusterRoleBinding", api.AgentAccount, &rbacv1.ClusterRoleBinding{})
	policy := func(change ...func(*admissionv1.ValidatingAdmissionPolicy)) client.Object {
		return manifest(t, "ValidatingAdmissionPolicy", api.AgentPolicy, &admissionv1.ValidatingAdmissionPolicy{}, change...)
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		want    Verdict
		detail  string
	}{
		"as applied":      {[]client.Object{account, policy(), binding}, OK, "as they were applied"},
		"no policy":       {[]client.Object{account, binding}, Failed, "ValidatingAdmissionPolicy tidegate-agent is missing, so that the agent of any machine may write on all nodes"},
		"no binding":      {[]client.Object{account, policy()}, Failed, "ValidatingAdmissionPolicyBinding tidegate-agent is missing"},
		"another account": {[]client.Object{account, policy(func(p *admissionv1.ValidatingAdmissionPolicy) { p.Spec.MatchConditions[0].Expression = "false" }), binding}, Failed, "was changed"},
		"no agents":       {nil, OK, "no agent may write"},
	} {
		t.Run(name, func(t *testing.T) {
			expect(t, agents(t.Context(), patient(t, interceptor.Funcs{}, tc.objects...)), tc.want, tc.detail, "")
		})
	}
}

func TestWebhook(t *testing.T) {
	refused := func(err error) func(client.Object) error { return func(client.Object) error { return err } }
	for name, tc := range map[string]struct {
		admit       func(client.Object) error
		want        Verdict
		detail, fix string
		way         way
	}{
		"gates": {admit: func(o client.Object) error {
			o.(*corev1.Pod).Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: api.CapacityGate}}
			return nil
		}, want: OK, detail: "is gated"},
		"does not gate":                   {admit: refused(nil), want: Failed, detail: "the webhook's configuration is missing", fix: "kubectl apply -k manifests"},
		"does not gate, with a policy":    {admit: refused(nil), want: Failed, detail: "the admission policy tidegate-gate, or its binding, is missing", fix: "kubectl apply -k manifests/overlays/admission-policy", way: withAdmissionPolicy},
		"does not gate, own certificates": {admit: refused(nil), want: Failed, detail: "the webhook's configuration is missing", fix: "kubectl apply -k manifests/overlays/own-certificates", way: withOwnCertificates},
		"is not reachable":                {admit: refused(apierrors.NewInternalError(errors.New("failed calling webhook \"gate.tidegate.io\": connection refused"))), want: Failed, detail: "connection refused", fix: "workloads"},
		"may not be asked":                {admit: refused(apierrors.NewForbidden(corev1.Resource("pods"), "", errors.New("no role"))), want: Unknown, detail: "no role", fix: "kubeconfig"},
		"something refuses":               {admit: refused(apierrors.NewBadRequest("policy")), want: Failed, detail: "policy", fix: "the text"},
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
			p.way = tc.way
			expect(t, webhook(t.Context(), p), tc.want, tc.detail, tc.fix)
		})
	}
}

// With components/fail-open the API server does not say that nobody answers.
func TestWebhookFailsOpen(t *testing.T) {
	for policy, want := range map[admissionv1.FailurePolicyType]string{
		admissionv1.Ignore: "the webhook does not answer, and its configuration ignores that",
		admissionv1.Fail:   "is missing or leaves it out",
	} {
		config := manifest(t, "MutatingWebhookConfiguration", api.WebhookConfiguration, &admissionv1.MutatingWebhookConfiguration{}, func(c *admissionv1.MutatingWebhookConfiguration) {
			c.Webhooks[0].FailurePolicy = &policy
		})
		ungated := interceptor.Funcs{Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error { return nil }}
		expect(t, webhook(t.Context(), patient(t, ungated, config)), Failed, want, "")
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
		"not looked at":            {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.Conditions = nil })}, want: Failed, detail: "has not been looked at"},
		"run out":                  {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.NotAfter.Time = noon.Add(-time.Hour) })}, want: Failed, detail: "ran out on 2026-03-01"},
		"overdue":                  {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.RenewalTime.Time = noon.Add(-3 * time.Hour) })}, want: Failed, detail: "should have been renewed"},
		"a little late":            {objects: []client.Object{certificate(func(c *cmapi.Certificate) { c.Status.RenewalTime.Time = noon.Add(-time.Hour) })}, want: OK},
		"cert-manager is absent":   {funcs: absent, objects: []client.Object{injected}, want: Failed, detail: "is to come from the Certificate tidegate-system/serving"},
		"the webhook's is missing": {objects: []client.Object{injected, certificate(func(c *cmapi.Certificate) { c.Name = "another" })}, want: Failed, detail: "Certificate tidegate-system/serving, and there is none"},
		"own certificates":         {funcs: absent, want: OK, detail: "not used"},
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

// A certificate that cert-manager issued outlives the authority that signed it.
func TestAuthorityOfTheExtender(t *testing.T) {
	ca, leaf := authorityFor(t, api.ExtenderHost)
	otherCA, _ := authorityFor(t, api.ExtenderHost)
	secret := func(name string, certificate []byte) client.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: api.ServerNamespace, Name: name}, Data: map[string][]byte{corev1.TLSCertKey: certificate}}
	}
	trusting := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfiguration},
		Webhooks:   []admissionv1.MutatingWebhook{{Name: "gate.tidegate.io", ClientConfig: admissionv1.WebhookClientConfig{CABundle: ca}}},
	}
	served := certificate(func(c *cmapi.Certificate) {
		c.Namespace, c.Spec.SecretName, c.Spec.DNSNames = api.ServerNamespace, "tidegate-extender", []string{api.ExtenderHost}
	})
	for name, tc := range map[string]struct {
		authority   []byte
		want        Verdict
		detail, fix string
	}{
		"its own":     {ca, OK, "", ""},
		"another one": {otherCA, Failed, "schedulers ask in vain", "kubectl delete secret -n tidegate-server tidegate-extender"},
		"none yet":    {nil, OK, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			p := patient(t, interceptor.Funcs{}, trusting, served, secret("tidegate-extender", leaf), secret(api.ExtenderCASecret, tc.authority))
			expect(t, authority(t.Context(), p), tc.want, tc.detail, tc.fix)
		})
	}
}

// Where Tidegate issues its certificates itself, nobody is sent to cert-manager.
func TestOwnCertificates(t *testing.T) {
	ca, _ := authorityFor(t, "")
	otherCA, _ := authorityFor(t, "")
	secret := func(namespace, name string, certificate []byte) client.Object {
		return &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{corev1.TLSCertKey: certificate}}
	}
	extender, webhook := secret(api.ServerNamespace, api.ExtenderCASecret, ca), secret(api.Namespace, api.WebhookCASecret, ca)
	trusts := func(bundle []byte) client.Object {
		return &admissionv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: api.WebhookConfiguration},
			Webhooks: []admissionv1.MutatingWebhook{{Name: "gate.tidegate.io", ClientConfig: admissionv1.WebhookClientConfig{
				CABundle: bundle, Service: &admissionv1.ServiceReference{Namespace: api.Namespace, Name: api.WebhookService},
			}}},
		}
	}
	const log = "kubectl logs -n tidegate-system deployment/tidegate-webhook"
	for name, tc := range map[string]struct {
		check       func(context.Context, Patient) Finding
		way         way
		objects     []client.Object
		late        time.Duration
		want        Verdict
		detail, fix string
	}{
		"both authorities":             {check: certificates, way: withOwnCertificates, objects: []client.Object{extender, webhook}, want: OK, detail: "issues its own"},
		"the webhook's is missing":     {check: certificates, way: withOwnCertificates, objects: []client.Object{extender}, want: Failed, detail: "Secret tidegate-system/tidegate-ca", fix: log},
		"a policy needs none":          {check: certificates, way: withAdmissionPolicy, objects: []client.Object{extender}, want: OK},
		"the extender's is missing":    {check: certificates, way: withAdmissionPolicy, want: Failed, detail: "Secret tidegate-server/tidegate-extender-ca", fix: "kubectl logs -n tidegate-server daemonset/tidegate"},
		"run out":                      {check: certificates, way: withAdmissionPolicy, objects: []client.Object{extender}, late: 2 * time.Hour, want: Failed, detail: "ran out on 2026-03-01"},
		"no certificate in the Secret": {check: certificates, way: withAdmissionPolicy, objects: []client.Object{secret(api.ServerNamespace, api.ExtenderCASecret, nil)}, want: Failed, fix: "delete it"},
		"trusted":                      {check: authority, way: withOwnCertificates, objects: []client.Object{webhook, trusts(ca)}, want: OK},
		"applied anew":                 {check: authority, way: withOwnCertificates, objects: []client.Object{webhook, trusts(nil)}, want: Failed, detail: "has no authority", fix: log},
		"another is trusted":           {check: authority, way: withOwnCertificates, objects: []client.Object{webhook, trusts(otherCA)}, want: Failed, detail: "does not trust", fix: log},
	} {
		t.Run(name, func(t *testing.T) {
			p := patient(t, interceptor.Funcs{}, tc.objects...)
			p.way, p.Server.Time = tc.way, noon.Add(tc.late)
			got := tc.check(t.Context(), p)
			expect(t, got, tc.want, tc.detail, tc.fix)
			if strings.Contains(got.Fix, "cert-manager") {
				t.Errorf("the fix is %q, and there is no cert-manager", got.Fix)
			}
		})
	}
}

func TestFindWay(t *testing.T) {
	webhook := func(args ...string) client.Object {
		return &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: api.Namespace, Name: api.WebhookService},
			Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Args: args}}}}},
		}
	}
	for name, tc := range map[string]struct {
		objects []client.Object
		want    way
	}{
		"cert-manager":       {[]client.Object{webhook("run")}, withCertManager},
		"own certificates":   {[]client.Object{webhook("run", "--own-certificates")}, withOwnCertificates},
		"a policy":           {[]client.Object{&admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: api.GatePolicy}}}, withAdmissionPolicy},
		"a policy's binding": {[]client.Object{&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: api.GatePolicy}}}, withAdmissionPolicy},
		"nothing is there":   {nil, withCertManager},
	} {
		t.Run(name, func(t *testing.T) {
			if got := findWay(t.Context(), patient(t, interceptor.Funcs{}, tc.objects...).Client); got != tc.want {
				t.Errorf("it was installed with %s, want %s", got, tc.want)
			}
		})
	}
}

// server is a k3s server that says that it runs with these arguments.
func server(name, args string) corev1.Node {
	return corev1.Node{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: map[string]string{"node-role.kubernetes.io/control-plane": "true"}, Annotations: map[string]string{nodeArgs: args},
	}}
}

func TestScheduler(t *testing.T) {
	const ours = "config=/etc/rancher/k3s/tidegate/scheduler.yaml"
	for name, tc := range map[string]struct {
		nodes       []corev1.Node
		want        Verdict
		detail, fix string
		here        []string // what is wrong with the files of server a, on which the doctor is
	}{
		"configured":                      {[]corev1.Node{server("a", `["server","--kube-scheduler-arg","`+ours+`"]`)}, OK, "1 servers", "", nil},
		"configured in one word":          {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=`+ours+`"]`)}, OK, "1 servers", "", nil},
		"another configuration":           {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=`+ours+`"]`), server("b", `["server","--kube-scheduler-arg","config=/etc/x.yaml"]`)}, Warning, ": b (/etc/x.yaml)", "tidegate k3s check", nil},
		"two configurations":              {[]corev1.Node{server("a", `["server","--kube-scheduler-arg","config=/etc/x.yaml","--kube-scheduler-arg=`+ours+`"]`)}, Warning, ": a (/etc/x.yaml, /etc/rancher/k3s/tidegate/scheduler.yaml)", "tidegate k3s check", nil},
		"one of two":                      {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=config=/etc/x.yaml"]`), server("b", `["server","--kube-scheduler-arg","v=4"]`)}, Failed, ": b", "tidegate k3s install", nil},
		"unreadable":                      {[]corev1.Node{server("a", `server`)}, Failed, ": a", "", nil},
		"an argument that is last":        {[]corev1.Node{server("a", `["server","--kube-scheduler-arg"]`)}, Failed, ": a", "", nil},
		"another one, judged here":        {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=config=/etc/x.yaml"]`)}, OK, "1 servers", "", []string{}},
		"broken, judged here":             {[]corev1.Node{server("a", `["server","--kube-scheduler-arg=`+ours+`"]`)}, Failed, "this server's files: /etc/x: bad: mend it", "k3s check", []string{"/etc/x: bad: mend it"}},
		"not restarted yet":               {[]corev1.Node{server("a", `["server"]`)}, Failed, ": a", "restart", []string{}},
		"of others nothing is known here": {[]corev1.Node{server("b", `["server","--kube-scheduler-arg=config=/etc/x.yaml"]`)}, Warning, ": b", "k3s check", []string{}},
		"agents do not count":             {[]corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "agent", Annotations: map[string]string{nodeArgs: `["agent"]`}}}}, Unknown, "no node says", "extender", nil},
	} {
		t.Run(name, func(t *testing.T) {
			p := patient(t, interceptor.Funcs{})
			p.Cluster.Nodes = tc.nodes
			if tc.here != nil {
				p.Machine = Machine{Name: "a", SchedulerFaults: func([]byte) []string { return tc.here }}
			}
			expect(t, scheduler(t.Context(), p), tc.want, tc.detail, tc.fix)
		})
	}
}

// The scheduler trusts what its file names; whom it should trust the cluster
// knows.
func TestSchedulerKnowsTheAuthority(t *testing.T) {
	const authority = "of today"
	for name, objects := range map[string][]client.Object{
		authority: {&corev1.Secret{
			ObjectMeta: metav1.ObjectMeta{Namespace: api.ServerNamespace, Name: api.ExtenderCASecret}, Data: map[string][]byte{corev1.TLSCertKey: []byte(authority)},
		}},
		"": nil,
	} {
		p := patient(t, interceptor.Funcs{}, objects...)
		p.Cluster.Nodes = []corev1.Node{server("a", `["server","--kube-scheduler-arg=config=/etc/x.yaml"]`)}
		p.Machine = Machine{Name: "a", SchedulerFaults: func(authority []byte) []string { return []string{"held against " + string(authority) + "."} }}
		expect(t, scheduler(t.Context(), p), Failed, "held against "+name+".", "k3s check")
	}
}

func TestIMDS(t *testing.T) {
	one, two := server("a", "[]"), server("b", "[]")
	for name, tc := range map[string]struct {
		nodes       []corev1.Node
		on          string // where the doctor is
		guarded     bool
		err         error
		want        Verdict
		detail, fix string
	}{
		"on the server, with the rule":      {nodes: []corev1.Node{one}, on: "a", guarded: true, want: OK, detail: "keeps its pods"},
		"on the server, without":            {nodes: []corev1.Node{one, two}, on: "a", want: Failed, detail: "pods on this server can use its identity", fix: "docs/install.md"},
		"on the server, and not as root":    {nodes: []corev1.Node{one}, on: "a", err: errors.New("iptables: denied"), want: Unknown, detail: "iptables: denied", fix: "as root"},
		"on one of two servers":             {nodes: []corev1.Node{one, two}, on: "b", guarded: true, want: Unknown, detail: "identity: a", fix: "tidegate k3s check"},
		"elsewhere, whatever is there":      {nodes: []corev1.Node{two, one}, on: "laptop", guarded: true, want: Unknown, detail: "identity: a, b", fix: "tidegate k3s check"},
		"on an agent, which has no rule":    {nodes: []corev1.Node{one, {ObjectMeta: metav1.ObjectMeta{Name: "agent"}}}, on: "agent", want: Unknown, detail: "identity: a", fix: "tidegate k3s check"},
		"in a cluster that shows no server": {nodes: []corev1.Node{{ObjectMeta: metav1.ObjectMeta{Name: "agent"}}}, on: "laptop", want: Unknown, detail: "no node is a server", fix: "169.254.169.254"},
	} {
		t.Run(name, func(t *testing.T) {
			p := patient(t, interceptor.Funcs{})
			p.Cluster.Nodes = tc.nodes
			p.Machine = Machine{Name: tc.on, MetadataGuarded: func(context.Context) (bool, error) { return tc.guarded, tc.err }}
			expect(t, imds(t.Context(), p), tc.want, tc.detail, tc.fix)
		})
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
	if want := 11; unknown != want { // clocks, workloads, pools, fence, agents, webhook, certificates, authority, scheduler, imds, autoscalers
		t.Errorf("%d checks could not be made, want %d", unknown, want)
	}
}
