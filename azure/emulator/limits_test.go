package emulator_test

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"

	"github.com/tidegate-k3s/tidegate/azure/emulator"
)

func TestRequestLimitsOfASet(t *testing.T) {
	cases := map[string]struct {
		burst  int
		refill time.Duration
		call   func(t *testing.T, sets setsClient, set string) error
	}{
		"reads": {burst: 36, refill: 5 * time.Second, call: func(t *testing.T, sets setsClient, set string) error {
			_, err := sets.Get(t.Context(), group, set, nil)
			return err
		}},
		"updates": {burst: 12, refill: 15 * time.Second, call: func(t *testing.T, sets setsClient, set string) error {
			return deleteInstances(t.Context(), sets, set, "*")
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := virtual(t, emulator.Config{ScaleSets: []emulator.ScaleSet{{Name: "agents"}, {Name: "big"}}})
				sets, _ := w.clients(t, nil)
				for n := range tc.burst {
					if err := tc.call(t, sets, "agents"); err != nil {
						t.Fatalf("call %d: %v", n, err)
					}
				}
				err := tc.call(t, sets, "agents")
				wantError(t, err, http.StatusTooManyRequests, "TooManyRequests", "throttled")
				var resp *azcore.ResponseError
				errors.As(err, &resp)
				wait, parseErr := time.ParseDuration(resp.RawResponse.Header.Get("Retry-After") + "s")
				if parseErr != nil || wait <= 0 || wait > tc.refill {
					t.Errorf("Retry-After is %s, want up to %s", wait, tc.refill)
				}
				if err := tc.call(t, sets, "big"); err != nil {
					t.Errorf("another set suffers: %v", err)
				}
				time.Sleep(wait)
				if err := tc.call(t, sets, "agents"); err != nil {
					t.Errorf("after Retry-After: %v", err)
				}
			})
		})
	}
}
