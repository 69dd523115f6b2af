// Command contract prints the official descriptors of the ext_proc contract as a sorted table of plain text, one line a
// field, enum value, method or reserved number. official.txt is its output; core/wire/contract_test.cc compares it with
// our own .proto files.
package main

import (
	"fmt"
	"log"
	"os"
	"sort"
	"strings"

	_ "github.com/envoyproxy/go-control-plane/envoy/config/common/mutation_rules/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/service/ext_proc/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// wanted is what a server of the contract can meet. A message brings the messages and enums declared inside it. The
// service's own file is printed whole, so that a new message in it is noticed.
var wanted = []protoreflect.FullName{
	"envoy.config.common.mutation_rules.v3.HeaderMutationRules",
	"envoy.config.core.v3.HeaderMap",
	"envoy.config.core.v3.HeaderValue",
	"envoy.config.core.v3.HeaderValueOption",
	"envoy.config.core.v3.Metadata",
	"envoy.extensions.filters.http.ext_proc.v3.ProcessingMode",
	"envoy.type.matcher.v3.RegexMatcher",
	"envoy.type.v3.HttpStatus",
	"envoy.type.v3.StatusCode",
}

const serviceFile = "envoy/service/ext_proc/v3/external_processor.proto"

type table struct{ lines []string }

func (t *table) add(format string, args ...any) {
	t.lines = append(t.lines, fmt.Sprintf(format, args...))
}

func typeName(f protoreflect.FieldDescriptor) string {
	switch f.Kind() {
	case protoreflect.MessageKind, protoreflect.GroupKind:
		return string(f.Message().FullName())
	case protoreflect.EnumKind:
		return string(f.Enum().FullName())
	}
	return f.Kind().String()
}

func (t *table) message(m protoreflect.MessageDescriptor) {
	for i := 0; i < m.Fields().Len(); i++ {
		f := m.Fields().Get(i)
		oneof := "-"
		if o := f.ContainingOneof(); o != nil {
			oneof = string(o.Name())
		}
		t.add("field %s %s %d %s %s %s", m.FullName(), f.Name(), f.Number(), typeName(f), f.Cardinality(), oneof)
	}
	for i := 0; i < m.ReservedRanges().Len(); i++ {
		r := m.ReservedRanges().Get(i)
		t.add("reserved %s %d..%d", m.FullName(), r[0], r[1]-1)
	}
	for i := 0; i < m.ReservedNames().Len(); i++ {
		t.add("reserved %s %s", m.FullName(), m.ReservedNames().Get(i))
	}
	for i := 0; i < m.Messages().Len(); i++ {
		t.message(m.Messages().Get(i))
	}
	for i := 0; i < m.Enums().Len(); i++ {
		t.enum(m.Enums().Get(i))
	}
}

func (t *table) enum(e protoreflect.EnumDescriptor) {
	for i := 0; i < e.Values().Len(); i++ {
		v := e.Values().Get(i)
		t.add("value %s %s %d", e.FullName(), v.Name(), v.Number())
	}
}

func (t *table) service(s protoreflect.ServiceDescriptor) {
	streaming := func(is bool) string {
		if is {
			return "stream"
		}
		return "unary"
	}
	for i := 0; i < s.Methods().Len(); i++ {
		m := s.Methods().Get(i)
		t.add("method %s %s %s %s %s %s", s.FullName(), m.Name(), streaming(m.IsStreamingClient()),
			m.Input().FullName(), streaming(m.IsStreamingServer()), m.Output().FullName())
	}
}

func main() {
	var t table
	file, err := protoregistry.GlobalFiles.FindFileByPath(serviceFile)
	if err != nil {
		log.Fatal(err)
	}
	for i := 0; i < file.Messages().Len(); i++ {
		t.message(file.Messages().Get(i))
	}
	for i := 0; i < file.Enums().Len(); i++ {
		t.enum(file.Enums().Get(i))
	}
	for i := 0; i < file.Services().Len(); i++ {
		t.service(file.Services().Get(i))
	}
	for _, name := range wanted {
		descriptor, err := protoregistry.GlobalFiles.FindDescriptorByName(name)
		if err != nil {
			log.Fatal(name, ": ", err)
		}
		switch d := descriptor.(type) {
		case protoreflect.MessageDescriptor:
			t.message(d)
		case protoreflect.EnumDescriptor:
			t.enum(d)
		}
	}
	sort.Strings(t.lines)
	fmt.Fprintln(os.Stdout, strings.Join(t.lines, "\n"))
}
