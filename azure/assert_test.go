package azure

import "github.com/tidegate-k3s/tidegate/capacity/manager"

// The manager's cloud in production is this one.
var _ manager.Cloud = (*Cloud)(nil)
