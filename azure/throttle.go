package azure

import (
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
)

// defaultThrottle is how long to stay away after a 429 without Retry-After.
const defaultThrottle = time.Minute

// throttle stays away from what answered 429 for as long as Retry-After said,
// however often it is asked meanwhile. The SDK gives up on waits of more than
// a minute and sleeps in the caller during shorter ones; a manager that has
// other pools to look after wants neither.
type throttle struct {
	mu    sync.Mutex
	until map[string]time.Time // by method and path: Azure's buckets are as fine
}

// Do implements policy.Policy.
func (t *throttle) Do(req *policy.Request) (*http.Response, error) {
	key := req.Raw().Method + " " + req.Raw().URL.Path
	if wait := t.wait(key); wait > 0 {
		return nil, &throttledError{key, wait}
	}
	resp, err := req.Next()
	if err == nil && resp.StatusCode == http.StatusTooManyRequests {
		wait := retryAfter(resp)
		if wait == 0 {
			wait = defaultThrottle
		}
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.until == nil {
			t.until = map[string]time.Time{}
		}
		t.until[key] = time.Now().Add(wait)
		return nil, &throttledError{key, wait}
	}
	return resp, err
}

// wait returns how long to stay away from key.
func (t *throttle) wait(key string) time.Duration {
	t.mu.Lock()
	defer t.mu.Unlock()
	wait := time.Until(t.until[key])
	if wait <= 0 {
		delete(t.until, key)
	}
	return wait
}

// throttledError says that Azure wants to be left alone, or will if it is asked
// sooner.
type throttledError struct {
	request string
	wait    time.Duration
}

func (e *throttledError) Error() string {
	return fmt.Sprintf("Azure limits the rate of %s: not asked for %s", e.request, e.wait.Round(time.Second))
}

// retryAfter reads how long a response asks to wait; 0 if it does not say.
func retryAfter(resp *http.Response) time.Duration {
	v := resp.Header.Get("Retry-After")
	if s, err := strconv.Atoi(v); err == nil && s > 0 {
		return time.Duration(s) * time.Second
	}
	if at, err := http.ParseTime(v); err == nil {
		return max(time.Until(at), 0)
	}
	return 0
}
