package main

import (
	"fmt"
	"sync"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/grpc/codes"
)

// A report is what was seen of the streams to the external processor since the last one was taken.
type report struct {
	mutex sync.Mutex
	seen  Seen
}

type Seen struct {
	Wrong  []string         `json:"wrong"`  // against gRFC A93
	Lowest map[string]int64 `json:"lowest"` // by window, its lowest size
	Ended  map[string]int   `json:"ended"`  // by status, streams
	Kinds  map[string]int   `json:"kinds"`  // messages from the filter
}

func newReport() *report {
	return &report{seen: newSeen()}
}

func newSeen() Seen {
	return Seen{Wrong: []string{}, Lowest: map[string]int64{}, Ended: map[string]int{}, Kinds: map[string]int{}}
}

func (r *report) take() Seen {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	taken := r.seen
	r.seen = newSeen()
	return taken
}

func (r *report) wrong(format string, arguments ...any) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	// What goes wrong once goes wrong often.
	if len(r.seen.Wrong) < 20 {
		r.seen.Wrong = append(r.seen.Wrong, fmt.Sprintf(format, arguments...))
	}
}

func (r *report) reached(window string, size int64) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.seen.Lowest[window] = min(r.seen.Lowest[window], size)
}

func (r *report) ended(how codes.Code) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.seen.Ended[how.String()]++
}

func (r *report) saw(message *extprocv3.ProcessingRequest) {
	kind := "nothing"
	switch message.GetRequest().(type) {
	case *extprocv3.ProcessingRequest_RequestHeaders:
		kind = "request_headers"
	case *extprocv3.ProcessingRequest_ResponseHeaders:
		kind = "response_headers"
	case *extprocv3.ProcessingRequest_RequestBody:
		kind = "request_body"
		if message.GetRequestBody().GetEndOfStream() {
			kind = "request_end"
		}
	case *extprocv3.ProcessingRequest_ResponseBody:
		kind = "response_body"
	case *extprocv3.ProcessingRequest_RequestTrailers:
		kind = "request_trailers"
	case *extprocv3.ProcessingRequest_ResponseTrailers:
		kind = "response_trailers"
	}
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.seen.Kinds[kind]++
}
