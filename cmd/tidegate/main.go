// Command tidegate makes a k3s cluster on Azure run its own machines.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	root := newRootCommand(filepath.Base(os.Args[0]))
	if err := root.ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "tidegate:", err)
		os.Exit(1)
	}
}

// version is set by the linker (Makefile, Dockerfile).
var version = "dev"

// pluginName is the name by which kubectl finds the program as its plugin.
const pluginName = "kubectl-tidegate"

// newRootCommand returns the program, called by that name.
func newRootCommand(calledBy string) *cobra.Command {
	root := &cobra.Command{
		Use:           "tidegate",
		Short:         "Machines for batch pods on k3s and Azure scale sets",
		Version:       version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	if calledBy == pluginName {
		root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl tidegate"}
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w; %s --help lists the flags", err, cmd.CommandPath())
	})
	people := &cobra.Group{ID: "people", Title: "For people, with their own kubeconfig:"}
	parts := &cobra.Group{ID: "parts", Title: "What runs:"}
	root.AddGroup(people, parts)
	for _, cmd := range []*cobra.Command{
		newStatusCommand(), newExplainCommand(), newPlanCommand(), newRetireCommand(), newKeepCommand(),
		newPauseCommand(), newResumeCommand(), newDoctorCommand(), newUninstallCommand(),
	} {
		cmd.GroupID = people.ID
		root.AddCommand(cmd)
	}
	for _, cmd := range []*cobra.Command{newRunCommand(), newAgentCommand(), newK3sCommand(), newEmulatorCommand()} {
		cmd.GroupID = parts.ID
		root.AddCommand(cmd)
	}
	return root
}
