package path

import (
	"context"
	"flag"
	"fmt"
	"os"

	"github.com/tidegate-k3s/tidegate/e2e/rig"
)

// permissions judges the Roles by all that the whole suite did: each verb that
// they grant was needed, and nothing was asked for that they do not grant. It
// says nothing when a part of the suite ran, which proves no verb superfluous.
func permissions(code int) int {
	if code != 0 || suite.rig == nil || flag.Lookup("test.run").Value.String() != "" || flag.Lookup("test.skip").Value.String() != "" {
		return code
	}
	for _, account := range []string{rig.ServerAccount, rig.WebhookAccount} {
		unused, refused, err := suite.rig.Permissions(context.Background(), account)
		if err != nil {
			fmt.Fprintln(os.Stderr, "judge the Roles:", err)
			code = 1
		}
		for _, grant := range unused {
			fmt.Fprintf(os.Stderr, "no test needed this of ServiceAccount %s: %s\n", account, grant)
			code = 1
		}
		for _, request := range refused {
			fmt.Fprintf(os.Stderr, "ServiceAccount %s was refused: %s\n", account, request)
			code = 1
		}
	}
	return code
}
