package main

import (
	"context"
	"io"
	"strconv"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// The header by which the upstream knows a call.
const numberHeader = "call-number"

// Visits are the calls that the upstream expects or has.
type visits struct {
	mutex   sync.Mutex
	counter int
	all     map[string]*visit
}

type visit struct {
	wanted call
	begun  bool
	over   chan struct{}
	seen   seen // of the handler until it is over
}

// A conversation is a call's messages, from the handler's side.
type conversation struct {
	take  func() ([]byte, error)
	give  func([]byte) error
	atEnd func() []byte // the only answer, given when all has come; nil: there are others
}

func (v *visits) expect(wanted call) (number string) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.counter++
	number = strconv.Itoa(v.counter)
	v.all[number] = &visit{wanted: wanted, over: make(chan struct{})}
	return number
}

// result is what the upstream has seen, when its handler is over; nil if the call never came.
func (v *visits) result(ctx context.Context, number string) (*seen, error) {
	v.mutex.Lock()
	came := v.all[number]
	delete(v.all, number)
	begun := came.begun
	v.mutex.Unlock()
	if !begun {
		return nil, nil
	}
	select {
	case <-came.over:
		return &came.seen, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (v *visits) begin(headers metadata.MD) *visit {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	numbers := headers.Get(numberHeader)
	if len(numbers) != 1 || v.all[numbers[0]] == nil {
		return nil
	}
	came := v.all[numbers[0]]
	came.begun = true
	return came
}

func (v *visits) serve(ctx context.Context, with conversation) error {
	headers, _ := metadata.FromIncomingContext(ctx)
	came := v.begin(headers)
	if came == nil {
		return status.Errorf(codes.FailedPrecondition, "nobody waits for the call %v", headers.Get(numberHeader))
	}
	came.seen = seen{Headers: headers, Received: []string{}, Sent: []string{}}
	defer close(came.over)
	err := came.converse(ctx, with)
	if err != nil {
		came.seen.Ended = err.Error()
		return err
	}
	if came.wanted.Code != codes.OK {
		return status.Error(came.wanted.Code, came.wanted.Message)
	}
	return nil
}

func (v *visit) converse(ctx context.Context, with conversation) error {
	if len(v.wanted.Headers) > 0 {
		if err := grpc.SetHeader(ctx, metadata.New(v.wanted.Headers)); err != nil {
			return err
		}
	}
	if err := grpc.SetTrailer(ctx, metadata.New(v.wanted.Trailers)); err != nil {
		return err
	}
	send := func(content []byte) error {
		v.seen.Sent = append(v.seen.Sent, describe(content))
		return with.give(content)
	}
	// What does not depend on what comes does not wait for it.
	answered := make(chan error, 1)
	echoes := v.wanted.Answer == nil && with.atEnd == nil
	go func() {
		var err error
		for i := 0; i < len(v.wanted.Answer) && err == nil; i++ {
			err = send(v.wanted.Answer[i])
		}
		answered <- err
	}()
	err := v.takeAll(with, func(content []byte) error {
		if !echoes {
			return nil
		}
		return send(content)
	})
	// When a call has been given up, giving fails.
	if late := <-answered; err == nil {
		err = late
	}
	if err == nil && with.atEnd != nil && v.wanted.Code == codes.OK {
		err = send(with.atEnd())
	}
	return err
}

func (v *visit) takeAll(with conversation, then func([]byte) error) error {
	for {
		content, err := with.take()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		v.seen.Received = append(v.seen.Received, describe(content))
		if err := then(content); err != nil {
			return err
		}
	}
}
