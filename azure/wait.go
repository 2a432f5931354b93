package azure

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
)

// maxPollFailures bounds how often in a row the state of an operation cannot
// be read before its outcome is given up as unknown.
const maxPollFailures = 20

// waiter returns the function that waits for the operation's outcome and puts
// it into words. Ending the wait says nothing of Azure and is not remembered.
func waiter[T any](c *Cloud, conn *connection, action string, p *runtime.Poller[T]) func(context.Context) error {
	return func(ctx context.Context) error {
		err := await(ctx, p, c.options.PollInterval)
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return c.outcome(conn, action, err)
	}
}

// await waits until the operation has ended. Unlike the SDK's own loop it
// survives what may pass while the operation goes on in Azure: a network that
// fails for a while, a fault of Azure's, and 429 however long its Retry-After.
func await[T any](ctx context.Context, p *runtime.Poller[T], every time.Duration) error {
	for failures := 0; ; {
		resp, err := p.Poll(ctx)
		if err == nil && p.Done() {
			_, err = p.Result(ctx)
			if err == nil {
				return nil
			}
		}
		delay := every
		switch {
		case err == nil:
			failures = 0
			delay = cmp.Or(retryAfter(resp), every)
		case ctx.Err() != nil || !passing(err) || failures == maxPollFailures:
			return err
		default:
			failures++
			if throttled, ok := errors.AsType[*throttledError](err); ok {
				delay = throttled.wait
			}
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// passing reports whether an error says nothing of the operation itself.
func passing(err error) bool {
	response, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return true
	}
	return response.StatusCode == http.StatusRequestTimeout || response.StatusCode >= 500
}
