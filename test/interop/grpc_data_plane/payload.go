package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"math/rand/v2"
)

// A payload is a message's content: the text, or so many bytes that no other message has.
type payload []byte

func (p *payload) UnmarshalJSON(given []byte) error {
	var text string
	if json.Unmarshal(given, &text) == nil {
		*p = payload(text)
		return nil
	}
	var size int
	if err := json.Unmarshal(given, &size); err != nil {
		return fmt.Errorf("a message is a text or a size: %w", err)
	}
	*p = random(size)
	return nil
}

func random(size int) payload {
	bytes := make(payload, size)
	var seed [32]byte
	for i := range seed {
		seed[i] = byte(rand.Uint32())
	}
	rand.NewChaCha8(seed).Read(bytes)
	return bytes
}

// describe is what stands for a content in an outcome: itself if it is a short text, else its size and digest.
func describe(content []byte) string {
	if len(content) <= 40 && isText(content) {
		return string(content)
	}
	return fmt.Sprintf("%d bytes, sha256 %x", len(content), sha256.Sum256(content))
}

func isText(content []byte) bool {
	for _, each := range content {
		if each < ' ' || each > '~' {
			return false
		}
	}
	return true
}
