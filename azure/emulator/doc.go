// Package emulator is a small Azure on loopback: the instance metadata
// service (IMDS) of one virtual machine and the part of Azure Resource Manager
// (ARM) that manages Uniform virtual machine scale sets.
//
// It is a server, not a mock. Clients reach it over real HTTP, with tokens that
// expire and are checked, roles, ETags, request limits, quota, long-running
// operations with Azure's own headers, and machines that take time to boot.
//
// It has three layers. Cloud is the state machine: it knows neither HTTP nor
// real time, and everything that will happen later is an event in one queue.
// IMDSHandler and ARMHandler put HTTP in front of it. Server adds listeners,
// TLS and a timer; a simulation leaves Server out and calls Cloud.Advance
// itself.
package emulator
