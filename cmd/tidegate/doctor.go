package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/tidegate-k3s/tidegate/cli"
	"github.com/tidegate-k3s/tidegate/cli/doctor"
	"github.com/tidegate-k3s/tidegate/k3s"
	"github.com/tidegate-k3s/tidegate/manifests"
)

func newDoctorCommand() *cobra.Command {
	var a access
	var o output
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look for what keeps Tidegate from working, and say how it is mended",
		Long: `Look for what keeps Tidegate from working, and say how it is mended. It changes
nothing, sees what your kubeconfig may see, and fails if a check does.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, _, err := a.config()
			if err != nil {
				return err
			}
			patient, err := examined(cmd.Context(), config)
			if err != nil {
				return err
			}
			findings, out := doctor.Examine(cmd.Context(), patient), cmd.OutOrStdout()
			if err := o.write(out, findings, func() { doctor.Write(out, findings, terminalStyle()) }); err != nil {
				return err
			}
			return doctor.Outcome(findings)
		},
	}
	a.bind(cmd)
	o.bind(cmd, "json", "yaml")
	return cmd
}

// examined reads what the checks have in common.
func examined(ctx context.Context, config *rest.Config) (doctor.Patient, error) {
	var p doctor.Patient
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, cmapi.AddToScheme} {
		if err := add(scheme); err != nil {
			return p, fmt.Errorf("register kinds: %w", err)
		}
	}
	typed, err := kubernetes.NewForConfig(config)
	if err != nil {
		return p, fmt.Errorf("client for the cluster: %w", err)
	}
	if p.Client, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return p, fmt.Errorf("client for the cluster: %w", err)
	}
	if p.Objects, err = manifests.Objects(); err != nil {
		return p, fmt.Errorf("read the manifests: %w", err)
	}
	if p.Cluster, err = cli.ReadCluster(ctx, typed, time.Now); err != nil {
		return p, err
	}
	// k3s names a node as its host, in lower case.
	host, err := os.Hostname()
	if err != nil {
		return p, fmt.Errorf("name of this machine: %w", err)
	}
	p.Machine = doctor.Machine{Name: strings.ToLower(host), MetadataGuarded: func(ctx context.Context) (bool, error) {
		return k3s.MetadataGuarded(ctx, runProgram)
	}}
	if os.Geteuid() == 0 { // others may not read what the scheduler signs in with
		p.Machine.SchedulerFaults = func(authority []byte) (faults []string) {
			for _, f := range k3s.CheckAgainst(os.DirFS("/"), authority, time.Now()) {
				faults = append(faults, f.String())
			}
			return faults
		}
	}
	// Last, so that its clock is read right after this one's.
	p.Server, err = doctor.AskServer(ctx, config)
	return p, err
}
