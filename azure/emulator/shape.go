package emulator

// Shape is what one machine of a size offers.
type Shape struct {
	VCPUs     int `json:"vcpus"`
	MemoryGiB int `json:"memoryGiB"`
	// GPUs and ARM64 describe the machine to readers of the SKU catalogue.
	GPUs  int  `json:"gpus,omitempty"`
	ARM64 bool `json:"arm64,omitempty"`
	// Family is the quota that the machine's vCPUs count against.
	Family string `json:"family,omitempty"`
}

// knownShapes are sizes that need no description in a configuration.
// Source: Azure documentation, "Sizes for virtual machines".
var knownShapes = map[string]Shape{
	"Standard_D2s_v5":          {VCPUs: 2, MemoryGiB: 8, Family: "standardDSv5Family"},
	"Standard_D4s_v5":          {VCPUs: 4, MemoryGiB: 16, Family: "standardDSv5Family"},
	"Standard_D8s_v5":          {VCPUs: 8, MemoryGiB: 32, Family: "standardDSv5Family"},
	"Standard_D16s_v5":         {VCPUs: 16, MemoryGiB: 64, Family: "standardDSv5Family"},
	"Standard_D32s_v5":         {VCPUs: 32, MemoryGiB: 128, Family: "standardDSv5Family"},
	"Standard_D64s_v5":         {VCPUs: 64, MemoryGiB: 256, Family: "standardDSv5Family"},
	"Standard_D96s_v5":         {VCPUs: 96, MemoryGiB: 384, Family: "standardDSv5Family"},
	"Standard_E8s_v5":          {VCPUs: 8, MemoryGiB: 64, Family: "standardESv5Family"},
	"Standard_E16s_v5":         {VCPUs: 16, MemoryGiB: 128, Family: "standardESv5Family"},
	"Standard_D4ps_v5":         {VCPUs: 4, MemoryGiB: 16, ARM64: true, Family: "standardDPSv5Family"},
	"Standard_D8ps_v5":         {VCPUs: 8, MemoryGiB: 32, ARM64: true, Family: "standardDPSv5Family"},
	"Standard_F8s_v2":          {VCPUs: 8, MemoryGiB: 16, Family: "standardFSv2Family"},
	"Standard_F16s_v2":         {VCPUs: 16, MemoryGiB: 32, Family: "standardFSv2Family"},
	"Standard_NC4as_T4_v3":     {VCPUs: 4, MemoryGiB: 28, GPUs: 1, Family: "Standard NCASv3_T4 Family"},
	"Standard_NC64as_T4_v3":    {VCPUs: 64, MemoryGiB: 440, GPUs: 4, Family: "Standard NCASv3_T4 Family"},
	"Standard_NC24ads_A100_v4": {VCPUs: 24, MemoryGiB: 220, GPUs: 1, Family: "StandardNCADSA100v4Family"},
}
