package main

import (
	"context"
	"fmt"
	"io"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// More than any call takes that does not hang.
const hangs = 60 * time.Second

// runAll runs a call's copies at the same time. `pause` is called once, when all are where they shall pause.
func runAll(connection *grpc.ClientConn, visits *visits, wanted call, pause func()) ([]outcome, error) {
	ctx, stop := context.WithTimeout(context.Background(), hangs)
	defer stop()
	copies := max(wanted.Copies, 1)
	outcomes, errs := make([]outcome, copies), make([]error, copies)
	gate := newGate(copies)
	var running sync.WaitGroup
	for i := range copies {
		running.Go(func() {
			pause, leave := gate.enter()
			defer leave()
			outcomes[i], errs[i] = run(ctx, connection, visits, wanted, pause)
		})
	}
	gate.open(pause)
	running.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return outcomes, nil
}

func run(ctx context.Context, connection *grpc.ClientConn, visits *visits, wanted call, pause func()) (outcome, error) {
	with, known := methods[wanted.Method]
	if !known {
		return outcome{}, fmt.Errorf("there is no method %q", wanted.Method)
	}
	number := visits.expect(wanted)
	headers := metadata.New(wanted.Metadata)
	headers.Set(numberHeader, number)
	given, giveUp := context.WithCancel(metadata.NewOutgoingContext(ctx, headers))
	defer giveUp()
	if wanted.DeadlineMS > 0 {
		var stop context.CancelFunc
		given, stop = context.WithTimeout(given, time.Duration(wanted.DeadlineMS)*time.Millisecond)
		defer stop()
	}
	r := &running{wanted: wanted, method: with, pause: pause, giveUp: giveUp}
	r.Sent, r.Received = []string{}, []string{}
	var err error
	if with.shape == nil {
		err = r.unary(given, connection)
	} else {
		err = r.streaming(given, connection)
	}
	r.Code, r.Message = status.Code(err).String(), status.Convert(err).Message()
	if ctx.Err() != nil {
		return outcome{}, fmt.Errorf("a call did not end within %v", hangs)
	}
	if r.Upstream, err = visits.result(ctx, number); err != nil {
		return outcome{}, fmt.Errorf("the upstream's call did not end within %v", hangs)
	}
	return r.outcome, nil
}

// Running is a call under way.
type running struct {
	outcome
	wanted call
	method method
	pause  func()
	giveUp func()
	ended  error // of the last receive
}

func (r *running) unary(ctx context.Context, connection *grpc.ClientConn) error {
	content := r.wanted.Send[0]
	r.Sent = append(r.Sent, describe(content))
	answer := r.method.answer()
	err := connection.Invoke(ctx, r.method.path, r.method.request(content), answer, grpc.Header(&r.Headers), grpc.Trailer(&r.Trailers))
	if err == nil {
		r.Received = append(r.Received, describe(r.method.content(answer)))
	}
	return err
}

func (r *running) streaming(ctx context.Context, connection *grpc.ClientConn) error {
	stream, err := connection.NewStream(ctx, r.method.shape, r.method.path)
	if err != nil {
		return err
	}
	if r.wanted.InTurn {
		r.send(stream)
		r.receive(stream)
	} else {
		var sending sync.WaitGroup
		sending.Go(func() { r.send(stream) })
		r.receive(stream)
		sending.Wait()
	}
	// Not otherwise: after an immediate response that came behind the trailers, grpc-go's filter waits for headers forever.
	if len(r.Received) > 0 {
		r.Headers, _ = stream.Header()
	}
	r.Trailers = stream.Trailer()
	if r.ended == io.EOF {
		return nil
	}
	return r.ended
}

// send sends all; why it could not is for receive to find out.
func (r *running) send(stream grpc.ClientStream) {
	for i := 0; ; i++ {
		if r.wanted.PauseAfter != nil && *r.wanted.PauseAfter == i {
			r.pause()
		}
		if r.wanted.CancelAfter != nil && *r.wanted.CancelAfter == i {
			r.giveUp()
			return
		}
		if i == len(r.wanted.Send) {
			break
		}
		content := r.wanted.Send[i]
		if stream.SendMsg(r.method.request(content)) != nil {
			return
		}
		r.Sent = append(r.Sent, describe(content))
		if r.wanted.InTurn && !r.receiveOne(stream) {
			return
		}
	}
	stream.CloseSend()
}

func (r *running) receive(stream grpc.ClientStream) {
	// As the generated code has it, where there is but one answer nothing is read behind it.
	for r.ended == nil && r.receiveOne(stream) && r.method.shape.ServerStreams {
	}
}

// receiveOne is false when nothing more comes.
func (r *running) receiveOne(stream grpc.ClientStream) bool {
	time.Sleep(time.Duration(r.wanted.RestMS) * time.Millisecond)
	answer := r.method.answer()
	if r.ended = stream.RecvMsg(answer); r.ended != nil {
		return false
	}
	r.Received = append(r.Received, describe(r.method.content(answer)))
	return true
}
