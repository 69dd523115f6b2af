// Prints what Go's encoding/json makes of instructions documents: the table cases.tsv, which the plugin's own parser is
// held against. `go run . > cases.tsv` remakes it.
package main

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand"
	"sort"
	"strings"
)

type document struct {
	AddHeaders    map[string]string `json:"addHeaders"`
	RemoveHeaders []string          `json:"removeHeaders"`
	SetBody       string            `json:"setBody"`
	SetTrailers   map[string]string `json:"setTrailers"`
}

var cases = []string{
	`{}`, ` {} `, "\t\r\n{}\n", `null`, ` null `, `[]`, `"x"`, `1`, `true`, `{`, `}`, `{}}`, `{} {}`, `{},`,
	`{"addHeaders":{"extproc":"true"}}`,
	`{"addHeaders":{"a":"1","b":"2"},"removeHeaders":["c","d"],"setBody":"x","setTrailers":{"t":"1"}}`,
	`{"addHeaders":{"a":"1"},"removeHeaders":null}`, `{"addHeaders":null,"removeHeaders":[]}`,
	`{"addHeaders":{"a":null}}`, `{"removeHeaders":[null]}`, `{"removeHeaders":["a",null,"b"]}`,
	`{"setBody":null}`, `{"setBody":"a","setBody":null}`, `{"setBody":"a","setBody":"b"}`, `{"setBody":""}`,
	`{"addHeaders":{"a":"1"},"addHeaders":{"b":"2"}}`, `{"addHeaders":{"a":"1"},"addHeaders":{"a":"2"}}`,
	`{"addHeaders":{"a":"1"},"addHeaders":null}`, `{"addHeaders":{"a":"1"},"addHeaders":null,"addHeaders":{"b":"2"}}`,
	`{"removeHeaders":["a","b"],"removeHeaders":["c"]}`, `{"removeHeaders":["a","b"],"removeHeaders":[null]}`,
	`{"removeHeaders":["a"],"removeHeaders":null}`, `{"removeHeaders":["a"],"removeHeaders":[]}`,
	`{"removeHeaders":["a","b"],"removeHeaders":["c"],"removeHeaders":[null,null]}`,
	`{"removeHeaders":["a","b"],"removeHeaders":[],"removeHeaders":[null,null]}`,
	`{"removeHeaders":["a","b"],"removeHeaders":null,"removeHeaders":[null,null]}`,
	`{"addHeaders":{"a":"1","a":"2"}}`, `{"addHeaders":{"A":"1","a":"2"}}`,
	`{"ADDHEADERS":{"a":"1"}}`, `{"addheaders":{"a":"1"},"AddHeaders":{"b":"2"}}`,
	"{\"addHeader\u017f\":{\"a\":\"1\"}}", "{\"\u017fetBody\":\"x\"}", "{\"setBod\u00dd\":\"x\"}", `{"set\u0042ody":"x"}`,
	`{"unknown":1,"other":[1,{"a":[]}],"x":{"addHeaders":{"a":"1"}}}`, `{"unknown":1e400}`, `{"unknown":-0.5e-3}`,
	`{"unknown":1e99999999999999999999}`, `{"unknown":-1.5E-99999999999999999999}`, `{"unknown":1e}`, `{"unknown":1e+}`, `{"unknown":-0}`,
	`{"unknown":` + strings.Repeat("9", 500) + `}`, `{"unknown":0.` + strings.Repeat("1", 500) + `e12}`, `{"unknown":true1}`, `{"unknown":1e1.5}`,
	`{"addHeaders":{"a":1}}`, `{"addHeaders":{"a":true}}`, `{"addHeaders":{"a":["x"]}}`, `{"addHeaders":{"a":{}}}`,
	`{"addHeaders":["a"]}`, `{"addHeaders":"a"}`, `{"addHeaders":1}`, `{"removeHeaders":"a"}`, `{"removeHeaders":{"a":"b"}}`,
	`{"removeHeaders":[1]}`, `{"removeHeaders":[["a"]]}`, `{"removeHeaders":[{}]}`, `{"setBody":1}`, `{"setBody":{}}`,
	`{"setBody":["a"]}`, `{"setTrailers":[]}`, `{"setTrailers":{"a":false}}`,
	`{"addHeaders":{"a":"1"},}`, `{"addHeaders":{"a":"1",}}`, `{"removeHeaders":["a",]}`, `{"a"}`, `{"a":}`, `{a:1}`, `{'a':1}`,
	`{"addHeaders":{"extproc":"true"}}}`, `{"a":01}`, `{"a":+1}`, `{"a":.5}`, `{"a":1.}`, `{"a":-}`, `{"a":nul}`, `{"a":NaN}`,
	`{"a":1 /* c */}`, "\ufeff{}", "{\"setBody\":\"a\nb\"}", "{\"setBody\":\"a\x00b\"}", "{\"setBody\":\"a\x7fb\"}",
	`{"setBody":"\n\t\"\\\/\b\f\r\u00e9\ud83d\ude00"}`, `{"setBody":"\x41"}`, `{"setBody":"\u12"}`, `{"setBody":"\u12g4"}`,
	`{"setBody":"\ud800"}`, `{"setBody":"\udc00"}`, `{"setBody":"\ud800\ud800"}`, `{"setBody":"\ud800\u0041"}`,
	`{"setBody":"\udc00\ud800x"}`, `{"setBody":"\\ud800"}`, `{"setBody":"\ud83d\\ude00"}`, `{"\ud800":"x"}`,
	`{"setBody":"\ud800\"}`, `{"setBody":"\ud800\"x"}`, `{"setBody":"\`, `{"setBody":"\"`,
	"{\"setBody\":\"\xff\"}", "{\"setBody\":\"\xc3\xa9\xc3\"}", "{\"setBody\":\"\xed\xa0\x80\"}", "{\"setBody\":\"\xf4\x90\x80\x80\"}",
	"{\"setBody\":\"\xe2\x82\"}", "{\"setBody\":\"\\\xff\"}", "{\xff}", "{\"addHeaders\":{\"\xff\":\"\xfe\"}}", "\xff",
	`{"addHeaders":{"":"x"}}`, `{"":{"a":"1"}}`, `{"addHeaders":{"a":"1"},"addHeaders":1}`, `{"addHeaders":{"a":1},"setBody":"x"`,
}

func pairs(m map[string]string) string {
	var out []string
	for k, v := range m {
		out = append(out, hex.EncodeToString([]byte(k))+"="+hex.EncodeToString([]byte(v)))
	}
	sort.Strings(out)
	return strings.Join(out, ",")
}

func summary(text string) string {
	d := &document{}
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		return "error"
	}
	if d == nil {
		d = &document{}
	}
	var removed []string
	for _, name := range d.RemoveHeaders {
		removed = append(removed, "-"+hex.EncodeToString([]byte(name)))
	}
	return pairs(d.AddHeaders) + ";" + strings.Join(removed, ",") + ";" + hex.EncodeToString([]byte(d.SetBody)) + ";" + pairs(d.SetTrailers)
}

func main() {
	all := append([]string{}, cases...)
	random := rand.New(rand.NewSource(1))
	pieces := []string{`{`, `}`, `[`, `]`, `,`, `:`, `null`, `1`, `true`, `"a"`, `"x"`, `""`, ` `, `"addHeaders"`, `"REMOVEHEADERS"`,
		`"setBody"`, `"setTrailers"`, `"other"`, `"\ud800"`, "\"\xff\""}
	for i := 0; i < 1500; i++ { // pieces that mostly make no sense
		text := ""
		for n := random.Intn(12); n >= 0; n-- {
			text += pieces[random.Intn(len(pieces))]
		}
		all = append(all, text)
	}
	for i := 0; i < 1500; i++ { // good documents with one or two bytes changed
		text := []byte(cases[random.Intn(len(cases))])
		for n := random.Intn(3); n > 0 && len(text) > 0; n-- {
			text[random.Intn(len(text))] = "{}[]\",:\\ux1 \xffdnulSeth"[random.Intn(21)]
		}
		all = append(all, string(text))
	}
	for _, text := range all {
		if text != "" {
			fmt.Printf("%s\t%s\n", hex.EncodeToString([]byte(text)), summary(text))
		}
	}
}
