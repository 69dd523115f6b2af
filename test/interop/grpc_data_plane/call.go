package main

import (
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

// A call is what this program is told to do: a line of JSON on its input.
type call struct {
	Method   string            `json:"method"` // unary, client_stream, server_stream or bidi
	Metadata map[string]string `json:"metadata"`
	Send     []payload         `json:"send"`
	InTurn   bool              `json:"in_turn"` // bidi: a message leaves when the one before it has been answered
	RestMS   int               `json:"rest_ms"` // before each message that is received

	// What the upstream does.
	Answer   []payload         `json:"answer"` // null: it sends what came, in client_stream a message for all
	Headers  map[string]string `json:"headers"`
	Trailers map[string]string `json:"trailers"`
	Code     codes.Code        `json:"code"`
	Message  string            `json:"message"`

	DeadlineMS  int  `json:"deadline_ms"`
	PauseAfter  *int `json:"pause_after"`  // messages sent, in turn also answered
	CancelAfter *int `json:"cancel_after"` // the same
	Copies      int  `json:"copies"`       // calls like this at the same time
}

// An outcome is what has become of one call.
type outcome struct {
	Code     string      `json:"code"`
	Message  string      `json:"message"`
	Sent     []string    `json:"sent"`
	Received []string    `json:"received"`
	Headers  metadata.MD `json:"headers"` // null: no message came, or no headers
	Trailers metadata.MD `json:"trailers"`
	Upstream *seen       `json:"upstream"` // null: the call did not get there
}

// What the upstream has seen of a call, and what it sent. Read when its handler has returned.
type seen struct {
	Headers  metadata.MD `json:"headers"`
	Received []string    `json:"received"`
	Sent     []string    `json:"sent"`
	Ended    string      `json:"ended"` // empty if the client went on to the end
}
