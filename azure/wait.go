package azure

import (
	"cmp"
	"context"
	"errors"
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
		err := await(ctx, c.options.PollInterval, func() (bool, time.Duration, error) {
			resp, err := p.Poll(ctx)
			if err == nil && p.Done() {
				if _, err = p.Result(ctx); err == nil {
					return true, 0, nil
				}
			}
			if err != nil {
				return !passing(err), 0, err
			}
			return false, retryAfter(resp), nil
		})
		if err != nil && ctx.Err() != nil {
			return ctx.Err()
		}
		return c.outcome(conn, action, err)
	}
}

// await looks again and again until an operation has ended, after the time that
// Azure names or else every. Unlike the SDK's own loop it survives what may
// pass while the operation goes on in Azure, which look returns with done
// false: a network that fails for a while, a fault of Azure's, and 429 however
// long its Retry-After.
func await(ctx context.Context, every time.Duration, look func() (done bool, after time.Duration, err error)) error {
	for failures := 0; ; {
		done, after, err := look()
		switch {
		case done:
			return err
		case err == nil:
			failures = 0
		case ctx.Err() != nil || failures == maxPollFailures:
			return err
		default:
			failures++
			if throttled, ok := errors.AsType[*throttledError](err); ok {
				after = throttled.wait
			}
		}
		if err := pause(ctx, cmp.Or(after, every)); err != nil {
			return err
		}
	}
}

// pause waits for d, or until ctx ends.
func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// passing reports whether an error says nothing of the operation itself.
func passing(err error) bool {
	response, ok := errors.AsType[*azcore.ResponseError](err)
	if !ok {
		return true
	}
	return faulty(response.StatusCode)
}
