package main

import (
	"encoding/json"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extproc "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
)

// instructions is what the header of that name holds.
type instructions struct {
	AddHeaders    map[string]string `json:"addHeaders"`
	RemoveHeaders []string          `json:"removeHeaders"`
}

// follow makes the reply that the headers ask for; nil where they ask for nothing.
func follow(headers *core.HeaderMap) (*extproc.HeadersResponse, error) {
	text := find(headers, "instructions")
	if len(text) == 0 {
		return nil, nil
	}
	var wanted instructions
	if err := json.Unmarshal(text, &wanted); err != nil {
		return nil, err
	}
	common := &extproc.CommonResponse{}
	if len(wanted.AddHeaders)+len(wanted.RemoveHeaders) > 0 {
		set := make([]*core.HeaderValueOption, 0, len(wanted.AddHeaders))
		for name, value := range wanted.AddHeaders {
			set = append(set, &core.HeaderValueOption{
				// Envoy reads nothing but raw_value.
				Header: &core.HeaderValue{Key: name, RawValue: []byte(value)},
			})
		}
		common.HeaderMutation = &extproc.HeaderMutation{SetHeaders: set, RemoveHeaders: wanted.RemoveHeaders}
	}
	return &extproc.HeadersResponse{Response: common}, nil
}

// find returns the value of the first header with that name.
func find(headers *core.HeaderMap, name string) []byte {
	for _, header := range headers.GetHeaders() {
		if header.GetKey() != name {
			continue
		}
		if raw := header.GetRawValue(); len(raw) > 0 {
			return raw
		}
		return []byte(header.GetValue())
	}
	return nil
}
