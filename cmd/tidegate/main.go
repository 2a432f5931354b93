// Command tidegate makes a k3s cluster on Azure run its own machines.
package main

import (
	"fmt"
	"os"

	"github.com/spf13/cobra"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	root := &cobra.Command{
		Use:           "tidegate",
		Short:         "Machines for batch pods on k3s and Azure scale sets",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.AddCommand(newRunCommand(), newEmulatorCommand())
	if err := root.ExecuteContext(ctrl.SetupSignalHandler()); err != nil {
		fmt.Fprintln(os.Stderr, "tidegate:", err)
		os.Exit(1)
	}
}
