package cluster

import "testing"

// However many ports are asked for, none is given twice, also before anybody listens there.
func TestPortsAreGivenOnce(t *testing.T) {
	given := map[int]bool{}
	for range 500 { // of 12,000, two would be the same
		port, err := FreePort()
		if err != nil {
			t.Fatal(err)
		}
		if given[port] {
			t.Fatalf("port %d was given twice", port)
		}
		given[port] = true
	}
}
