package cluster

import (
	"context"
	"fmt"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// connect makes the administrator's kubeconfig and client.
func (c *Cluster) connect() (err error) {
	if c.Kubeconfig, err = c.UserKubeconfig("admin", "system:masters"); err != nil {
		return err
	}
	if c.config, err = clientcmd.BuildConfigFromFlags("", c.Kubeconfig); err != nil {
		return err
	}
	c.config.QPS = -1
	own := rest.CopyConfig(c.config)
	own.WarningHandler = rest.NoWarnings{} // such as that endpoints of the type FQDN are deprecated
	c.client, err = kubernetes.NewForConfig(own)
	return err
}

// UserKubeconfig writes a kubeconfig whose holder is the user, a member of the groups, and returns its path. RBAC
// decides what that user may do; the group system:masters may do everything.
func (c *Cluster) UserKubeconfig(user string, groups ...string) (string, error) {
	certPEM, keyPEM, err := c.authority.client(user, groups...)
	if err != nil {
		return "", err
	}
	return c.writeKubeconfig(user, &clientcmdapi.AuthInfo{ClientCertificateData: certPEM, ClientKeyData: keyPEM})
}

// ServiceAccountKubeconfig writes a kubeconfig whose holder is the ServiceAccount, by a token that is good for a day,
// and returns its path. The ServiceAccount must exist.
func (c *Cluster) ServiceAccountKubeconfig(ctx context.Context, namespace, name string) (string, error) {
	return c.tokenKubeconfig(ctx, namespace, name, namespace+"-"+name, nil)
}

// PodKubeconfig writes a kubeconfig whose holder is the pod's ServiceAccount, by a token like the one that the kubelet
// gives to the pod: bound to it, and so to its node.
func (c *Cluster) PodKubeconfig(ctx context.Context, pod *corev1.Pod) (string, error) {
	bound := &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID}
	return c.tokenKubeconfig(ctx, pod.Namespace, pod.Spec.ServiceAccountName, pod.Namespace+"-"+pod.Name, bound)
}

func (c *Cluster) tokenKubeconfig(ctx context.Context, namespace, account, file string, bound *authenticationv1.BoundObjectReference) (string, error) {
	seconds := int64(validity.Seconds())
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds, BoundObjectRef: bound}}
	answer, err := c.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, account, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("request a token for the ServiceAccount %s/%s (apply its manifest first): %w", namespace, account, err)
	}
	return c.writeKubeconfig(file, &clientcmdapi.AuthInfo{Token: answer.Status.Token})
}

func (c *Cluster) writeKubeconfig(name string, auth *clientcmdapi.AuthInfo) (string, error) {
	config := clientcmdapi.NewConfig()
	config.Clusters["e2e"] = &clientcmdapi.Cluster{Server: c.Servers[0], CertificateAuthorityData: c.authority.pem}
	config.AuthInfos[name] = auth
	config.Contexts["e2e"] = &clientcmdapi.Context{Cluster: "e2e", AuthInfo: name}
	config.CurrentContext = "e2e"
	path := c.file(strings.ReplaceAll(name, ":", "-") + ".kubeconfig")
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return "", fmt.Errorf("write the kubeconfig of %s: %w", name, err)
	}
	return path, nil
}
