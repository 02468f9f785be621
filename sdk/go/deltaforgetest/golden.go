package deltaforgetest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"deltaforge"
)

// Golden runs a processor over every `NAME.in.json` of a folder and compares what comes out with `NAME.out.json`, each in
// a test of its own.
//
// What goes in is a batch as [FromJSON] reads it, with one member more, `config`. What comes out is an object: `events`
// in the native form, `rejects` with the reasons where there are any, or, when the call fails, `error` with the message.
//
// With UPDATE_GOLDEN set in the environment, what came out is written instead, to be looked at before it is committed.
func Golden(t *testing.T, plugin *deltaforge.ProcessorPlugin, folder string) {
	t.Helper()
	golden(t, folder, func(batch *Batch, config string) lines {
		outcome, err := batch.Process(plugin, config)
		if err != nil {
			return lines{failed: err}
		}
		return lines{name: "events", shown: outcome.Events(), rejects: outcome.Rejects()}
	})
}

// GoldenFormatter is as [Golden], for a formatter: what comes out has `bodies` in place of `events`, `null` where a row
// has none.
func GoldenFormatter(t *testing.T, plugin *deltaforge.FormatterPlugin, folder string) {
	t.Helper()
	golden(t, folder, func(batch *Batch, config string) lines {
		bodies, err := batch.Format(plugin, config)
		if err != nil {
			return lines{failed: err}
		}
		made := lines{name: "bodies"}
		for row := range bodies.Len() {
			body := json.RawMessage(bodies.Get(row))
			switch {
			case body == nil:
				body = json.RawMessage("null")
			case !json.Valid(body):
				body = deltaforge.AppendJSONString(nil, string(body))
			}
			made.shown = append(made.shown, body)
		}
		for _, reject := range bodies.Rejects() {
			made.rejects = append(made.rejects, reject.Reason)
		}
		return made
	})
}

func golden(t *testing.T, folder string, run func(batch *Batch, config string) lines) {
	t.Helper()
	inputs, err := filepath.Glob(filepath.Join(folder, "*.in.json"))
	if err != nil || len(inputs) == 0 {
		t.Fatalf("%s has no *.in.json", folder)
	}
	for _, input := range inputs {
		output := strings.TrimSuffix(input, ".in.json") + ".out.json"
		t.Run(strings.TrimSuffix(filepath.Base(input), ".in.json"), func(t *testing.T) {
			batch, config := read(t, input)
			found := run(batch, config).text()
			if os.Getenv("UPDATE_GOLDEN") != "" {
				if err := os.WriteFile(output, found, 0o666); err != nil {
					t.Fatal(err)
				}
				return
			}
			compare(t, output, found)
		})
	}
}

func read(t *testing.T, path string) (batch *Batch, config string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(text, &members); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	config = string(members["config"])
	delete(members, "config")
	rest, err := json.Marshal(members)
	if err != nil {
		t.Fatal(err)
	}
	if batch, err = FromJSON(string(rest)); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return batch, config
}

// lines are what came out.
type lines struct {
	name    string
	shown   []json.RawMessage
	rejects []string
	failed  error
}

// text is one line an event.
func (l lines) text() []byte {
	if l.failed != nil {
		return append(deltaforge.AppendJSONString([]byte("{\n  \"error\": "), l.failed.Error()), "\n}\n"...)
	}
	out := []byte("{\n  \"" + l.name + "\": [")
	for at, line := range l.shown {
		if at > 0 {
			out = append(out, ',')
		}
		out = append(append(out, "\n    "...), line...)
	}
	out = append(out, "\n  ]"...)
	for at, reason := range l.rejects {
		if at == 0 {
			out = append(out, ",\n  \"rejects\": ["...)
		} else {
			out = append(out, ", "...)
		}
		out = deltaforge.AppendJSONString(out, reason)
	}
	if len(l.rejects) > 0 {
		out = append(out, ']')
	}
	return append(out, "\n}\n"...)
}

// compare compares as JSON: neither white space nor the order of members counts.
func compare(t *testing.T, path string, found []byte) {
	t.Helper()
	golden, err := os.ReadFile(path)
	if err != nil {
		t.Fatalf("%v (UPDATE_GOLDEN=1 writes it)", err)
	}
	var wanted, got map[string]any
	if err := decode(golden, &wanted); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	if err := decode(found, &got); err != nil {
		t.Fatalf("what came out: %v\n%s", err, found)
	}
	for _, name := range []string{"events", "bodies", "rejects", "error"} {
		wantedLines, _ := wanted[name].([]any)
		gotLines, _ := got[name].([]any)
		for at := range min(len(wantedLines), len(gotLines)) {
			if !reflect.DeepEqual(wantedLines[at], gotLines[at]) {
				t.Errorf("%s: %s[%d]\n    is  %s\n    not %s", path, name, at, plain(gotLines[at]), plain(wantedLines[at]))
			}
		}
		if len(wantedLines) != len(gotLines) {
			t.Errorf("%s: there are %d %s, not %d", path, len(gotLines), name, len(wantedLines))
		}
		if wantedLines == nil && !reflect.DeepEqual(wanted[name], got[name]) {
			t.Errorf("%s: `%s` is %s, not %s", path, name, plain(got[name]), plain(wanted[name]))
		}
	}
}

// decode keeps all digits.
func decode(text []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.UseNumber()
	return decoder.Decode(into)
}

func plain(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
