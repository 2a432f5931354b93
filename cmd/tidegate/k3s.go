package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/tidegate-k3s/tidegate/api"
	"github.com/tidegate-k3s/tidegate/k3s"
)

func newK3sCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "k3s",
		Short: "Have the scheduler of this k3s server ask Tidegate",
	}
	var root string
	cmd.PersistentFlags().StringVar(&root, "root", "/", "root folder of the server")
	cmd.AddCommand(newK3sCheckCommand(&root), newK3sInstallCommand(&root))
	return cmd
}

func newK3sCheckCommand(root *string) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Say whether k3s may be restarted with the files that it would read",
		Long: `Say whether k3s may be restarted with the files that it would read: its own
configuration with all drop-ins, the scheduler's configuration, and what that
names. A scheduler that cannot read its configuration takes the server down.

It talks to nobody, and says what it cannot judge. On the server itself it also
asks iptables for the rule that keeps pods from the server's identity.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return checkServer(cmd.Context(), *root, lines(cmd))
		},
	}
}

func checkServer(ctx context.Context, root string, out io.Writer) error {
	findings := k3s.Check(os.DirFS(root), time.Now())
	for _, f := range findings {
		fmt.Fprintln(out, f)
	}
	if root == "/" { // this host's firewall is that server's
		switch guarded, err := k3s.MetadataGuarded(ctx, runProgram); {
		case err != nil:
			fmt.Fprintln(out, "warning: whether pods reach the metadata service was not judged:", err)
		case !guarded:
			fmt.Fprintln(out, "warning: iptables has no rule that keeps pods on this server from the metadata service: if the server has a managed identity, they can use it; docs/install.md has the unit that adds the rule")
		}
	}
	if len(findings) > 0 {
		return fmt.Errorf("do not restart k3s before this is mended (%d)", len(findings))
	}
	fmt.Fprintln(out, "the files are in order; k3s reads them when it starts:")
	fmt.Fprintln(out, "    "+k3s.RestartCommand)
	fmt.Fprintln(out, k3s.Unjudged)
	return nil
}

// runProgram runs a program of this host.
func runProgram(ctx context.Context, program string, args ...string) (string, int, error) {
	output, err := exec.CommandContext(ctx, program, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return string(output), exit.ExitCode(), nil
	}
	return string(output), 0, err
}

func newK3sInstallCommand(root *string) *cobra.Command {
	var kubeconfig, caFile string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Write the files that this k3s server's scheduler needs",
		Long: `Write the files that this k3s server's scheduler needs to ask Tidegate, and say
how k3s reads them. Nothing is restarted, and nothing is written that tidegate
k3s check would object to. It may be run again at any time.

The authority of the extender's certificate comes from the cluster, where
Tidegate must be installed already, or from --ca.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if kubeconfig == "" {
				kubeconfig = filepath.Join(*root, k3s.AdminKubeconfig)
			}
			ca, err := extenderCA(cmd.Context(), caFile, kubeconfig)
			if err != nil {
				return err
			}
			return installServer(cmd.Context(), *root, ca, lines(cmd))
		},
	}
	cmd.Flags().StringVar(&kubeconfig, "kubeconfig", "", "kubeconfig file; empty means the one that k3s writes for the administrator")
	cmd.Flags().StringVar(&caFile, "ca", "", "PEM file with the authority, instead of the cluster's")
	return cmd
}

func installServer(ctx context.Context, root string, ca []byte, out io.Writer) error {
	changed, err := k3s.Install(root, ca, time.Now())
	for _, file := range changed {
		fmt.Fprintln(out, "wrote", file)
	}
	if errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("%w; run this as root", err)
	}
	if err != nil {
		return err
	}
	if len(changed) == 0 {
		fmt.Fprintln(out, "every file is in place already")
	}
	return checkServer(ctx, root, out)
}

// extenderCA reads the authority from the file, if one is given, else from the
// Secret in which the cluster keeps it.
func extenderCA(ctx context.Context, file, kubeconfig string) ([]byte, error) {
	if file != "" {
		return os.ReadFile(file)
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("find the cluster: %w; run this as root on a k3s server, or give --kubeconfig, or --ca", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("client for the cluster: %w", err)
	}
	secret, err := client.CoreV1().Secrets(api.ServerNamespace).Get(ctx, api.ExtenderCASecret, metav1.GetOptions{})
	if err != nil {
		return nil, fmt.Errorf("read the authority of the extender: %w; is Tidegate installed, and does it run? kubectl get pods -n %s", err, api.ServerNamespace)
	}
	ca := secret.Data[corev1.TLSCertKey]
	if len(ca) == 0 {
		return nil, fmt.Errorf("there is no %[3]s in Secret %[1]s/%[2]s yet: with cert-manager look at the Certificate of that name, without it at Tidegate's log, then try again", api.ServerNamespace, api.ExtenderCASecret, corev1.TLSCertKey)
	}
	return ca, nil
}
