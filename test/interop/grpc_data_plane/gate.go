package main

import (
	"sync"
	"sync/atomic"
)

// A gate is where all copies of a call wait for each other, and then until something has been done.
type gate struct {
	coming  sync.WaitGroup
	stopped atomic.Bool
	opened  chan struct{}
}

func newGate(copies int) *gate {
	g := &gate{opened: make(chan struct{})}
	g.coming.Add(copies)
	return g
}

// enter gives a copy what it calls to pause, and at its end.
func (g *gate) enter() (pause, leave func()) {
	leave = sync.OnceFunc(g.coming.Done)
	pause = func() {
		g.stopped.Store(true)
		leave()
		<-g.opened
	}
	return pause, leave
}

// open waits until each copy pauses or has ended; if any pauses, it calls `then` before they go on.
func (g *gate) open(then func()) {
	g.coming.Wait()
	if g.stopped.Load() {
		then()
	}
	close(g.opened)
}
