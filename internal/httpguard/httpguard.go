// Package httpguard refuses what no Kubernetes component would send, before
// the webhook or the extender spends memory or thought on it.
package httpguard

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"time"
)

// MaxBody is the largest request body that is read, in bytes. The API server
// accepts objects of up to 3 MB (k8s.io/apiserver, MaxRequestBodyBytes), a
// review carries at most two of them, and 1 MB is left for the rest; the node
// names that a scheduler adds to one pod stay well below that too.
const MaxBody = 7 << 20

// maxDrained is how much of a body that is too large is thrown away before it
// is refused, in bytes; whoever sends more gets a closed connection.
const maxDrained = 16 << 20

// ReadTime is how long a sender may take for its body, and WriteTime how long
// the whole request may take until it is answered. The API server waits three
// seconds for the webhook and the scheduler one for the extender (manifests):
// what is slower than this is nobody's request.
const (
	ReadTime  = 5 * time.Second
	WriteTime = 10 * time.Second
)

// Handler answers one request, whose body has been read. An error is the
// sender's mistake; nothing may have been written then.
type Handler func(w http.ResponseWriter, r *http.Request, body []byte) error

// JSON serves POST requests with a JSON body of at most MaxBody bytes that
// arrives within ReadTime.
// Anything else, and what the handler refuses, is answered with a status of
// 4xx and one sentence.
func JSON(handle Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Both are refused only by writers that have no connection, in tests.
		now, control := time.Now(), http.NewResponseController(w)
		_ = control.SetReadDeadline(now.Add(ReadTime))
		_ = control.SetWriteDeadline(now.Add(WriteTime))
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			refuse(w, http.StatusMethodNotAllowed, "method %s is not served here: send a POST request", r.Method)
			return
		}
		if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
			refuse(w, http.StatusUnsupportedMediaType, "content type %q is not served here: send application/json", r.Header.Get("Content-Type"))
			return
		}
		body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, MaxBody))
		if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
			// A sender reads the answer only once it has sent everything.
			_, _ = io.CopyN(io.Discard, r.Body, maxDrained)
			refuse(w, http.StatusRequestEntityTooLarge, "the body is larger than the %d bytes that are read: send a smaller object", tooLarge.Limit)
			return
		}
		if err != nil {
			refuse(w, http.StatusBadRequest, "the body could not be read: %v", err)
			return
		}
		if err := handle(w, r, body); err != nil {
			refuse(w, http.StatusBadRequest, "%v", err)
		}
	})
}

func refuse(w http.ResponseWriter, code int, format string, args ...any) {
	http.Error(w, fmt.Sprintf(format, args...), code)
}
