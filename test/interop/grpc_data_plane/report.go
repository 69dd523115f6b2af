package main

import (
	"fmt"
	"sync"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	"google.golang.org/protobuf/proto"
)

// A report is what was seen of the streams to the external processor since the last one was taken.
type report struct {
	mutex sync.Mutex
	seen  sights
}

type sights struct {
	Wrong  []string         `json:"wrong"`  // against gRFC A93
	Lowest map[string]int64 `json:"lowest"` // by window, its lowest size
	Events []string         `json:"events"` // in their order, if there was but one stream
}

func newReport() *report {
	return &report{seen: newSights()}
}

func newSights() sights {
	return sights{Wrong: []string{}, Lowest: map[string]int64{}, Events: []string{}}
}

func (r *report) take() sights {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	taken := r.seen
	r.seen = newSights()
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

// happened adds to the order of events: messages, "half-close" by the filter, and the end with its status.
func (r *report) happened(event string) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if len(r.seen.Events) < 1000 {
		r.seen.Events = append(r.seen.Events, event)
	}
}

func (r *report) saw(message *extprocv3.ProcessingRequest) {
	if message.GetRequest() != nil {
		r.happened(kindOf(message, message.GetRequestBody().GetEndOfStream()))
	}
}

func (r *report) sawReply(message *extprocv3.ProcessingResponse) {
	if message.GetRequestDrain() {
		r.happened("drain")
	}
	if message.GetResponse() != nil {
		body := message.GetRequestBody().GetResponse().GetBodyMutation().GetStreamedResponse()
		r.happened("reply to " + kindOf(message, body.GetEndOfStream()))
	}
}

// kindOf names the field of the oneof that is set.
func kindOf(message proto.Message, isEnd bool) string {
	reflected := message.ProtoReflect()
	oneof := reflected.Descriptor().Oneofs().Get(0)
	kind := string(reflected.WhichOneof(oneof).Name())
	if isEnd {
		kind += " end"
	}
	return kind
}
