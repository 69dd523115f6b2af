package main

import (
	"sync"

	extprocv3 "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

// Windows is the flow control of one stream after gRFC A93: a gRPC message may be sent while its window is positive, and
// may be larger than it. What is added has passed here before the sender hears of it, so what is too much here is too much.
type windows struct {
	report *report

	mutex    sync.Mutex
	granted  bool
	answered bool // by a window update, which may be empty
	way      map[string]*window
}

type window struct {
	size, full int64
}

const (
	downstreamToSidestream = "downstream to sidestream"
	sidestreamToUpstream   = "sidestream to upstream"
	upstreamToSidestream   = "upstream to sidestream"
	sidestreamToDownstream = "sidestream to downstream"
)

func newWindows(report *report) *windows {
	return &windows{report: report, way: map[string]*window{}}
}

// request is called for each of the filter's messages before it goes to the server.
func (w *windows) request(message *extprocv3.ProcessingRequest) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if init := message.GetFlowControlInit(); init != nil {
		w.granted = true
		for way, size := range map[string]int64{
			downstreamToSidestream: init.GetInitialWindowDownstreamToSidestream(),
			sidestreamToUpstream:   init.GetInitialWindowSidestreamToUpstream(),
			upstreamToSidestream:   init.GetInitialWindowUpstreamToSidestream(),
			sidestreamToDownstream: init.GetInitialWindowSidestreamToDownstream(),
		} {
			w.way[way] = &window{size, size}
		}
	}
	update := message.GetClientWindowUpdate()
	w.add(sidestreamToUpstream, update.GetWindowIncrementSidestreamToUpstream())
	w.add(sidestreamToDownstream, update.GetWindowIncrementSidestreamToDownstream())
	w.take(downstreamToSidestream, message.GetRequestBody().GetBody())
	w.take(upstreamToSidestream, message.GetResponseBody().GetBody())
	w.report.saw(message)
}

// response is called for each of the server's messages before it goes to the filter.
func (w *windows) response(message *extprocv3.ProcessingResponse) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.report.sawReply(message)
	update := message.GetServerWindowUpdate()
	if !w.answered {
		w.answered = true
		if w.granted != (update != nil) {
			w.report.wrong("flow control was asked for: %v, and the server's first message has it: %v", w.granted, update != nil)
		}
	}
	w.add(downstreamToSidestream, update.GetWindowIncrementDownstreamToSidestream())
	w.add(upstreamToSidestream, update.GetWindowIncrementUpstreamToSidestream())
	w.take(sidestreamToUpstream, streamedBody(message.GetRequestBody()))
	w.take(sidestreamToDownstream, streamedBody(message.GetResponseBody()))
}

// halfClosed is called when the filter can give nothing back any more: then the server sends what waits all the same.
func (w *windows) halfClosed() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.report.happened("half-close")
	delete(w.way, sidestreamToUpstream)
	delete(w.way, sidestreamToDownstream)
}

func streamedBody(reply *extprocv3.BodyResponse) []byte {
	return reply.GetResponse().GetBodyMutation().GetStreamedResponse().GetBody()
}

func (w *windows) add(way string, bytes int64) {
	at := w.way[way]
	if at == nil {
		if bytes != 0 {
			w.report.wrong("%s: flow control was not asked for, but given back were %d bytes", way, bytes)
		}
		return
	}
	if at.size += bytes; at.size > at.full {
		w.report.wrong("%s: more was given back than taken, by %d bytes", way, at.size-at.full)
	}
}

func (w *windows) take(way string, body []byte) {
	at := w.way[way]
	if at == nil || len(body) == 0 {
		return
	}
	if at.size <= 0 {
		w.report.wrong("%s: %d bytes came with a window of %d", way, len(body), at.size)
	}
	at.size -= int64(len(body))
	w.report.reached(way, at.size)
}
