package deltaforgetest_test

import (
	"bytes"
	"os"
	"testing"

	"deltaforge"
	"deltaforge/deltaforgetest"
)

// The golden files of the host's own envelopes, which its SDK for Rust makes too.
const shared = "../../../plugins/golden/"

var native = deltaforge.NewFormatter(
	deltaforge.Manifest{Name: "native", Version: "1.0.0"},
	struct{}{},
	func(struct{}) (deltaforge.Formatter, error) { return asItIs{}, nil },
)

type asItIs struct{}

func (asItIs) Format(batch *deltaforge.Batch, bodies *deltaforge.Bodies) error {
	events := batch.JSONEvents()
	for row := range batch.Len() {
		bodies.Push(func(out []byte) []byte { return events.Append(row, out) })
	}
	return nil
}

func sharedBatch(t *testing.T) *deltaforgetest.Batch {
	t.Helper()
	text, err := os.ReadFile(shared + "batch.in.json")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := deltaforgetest.FromJSON(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func TestEveryKindOfValueHasTheHostsForm(t *testing.T) {
	bodies, err := sharedBatch(t).Format(native, "{}")
	if err != nil {
		t.Fatal(err)
	}
	golden, err := os.ReadFile(shared + "native.out.jsonl")
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.Split(bytes.TrimSuffix(golden, []byte("\n")), []byte("\n"))
	if len(lines) != bodies.Len() {
		t.Fatalf("%d bodies, not %d", bodies.Len(), len(lines))
	}
	for row, line := range lines {
		if !bytes.Equal(bodies.Get(row), line) {
			t.Errorf("row %d\n    is  %s\n    not %s", row, bodies.Get(row), line)
		}
	}
}

func TestAValueMaySayItsKind(t *testing.T) {
	batch, err := deltaforgetest.FromJSON(`{"about": "kinds", "tables": [{"name": "t", "columns": [["a", "int"], ["b", "any"]]}],
		"events": [{"table": "t", "op": "c", "after": {"a": {"_text": "12"}, "b": {"_array": [{"_decimal": "1.50"}, 7]}}}]}`)
	if err != nil {
		t.Fatal(err)
	}
	bodies, err := batch.Format(native, "{}")
	if err != nil {
		t.Fatal(err)
	}
	if wanted := []byte(`"after":{"a":"12","b":["1.50",7]}`); !bytes.Contains(bodies.Get(0), wanted) {
		t.Errorf("%s lacks %s", bodies.Get(0), wanted)
	}
	batch, err = deltaforgetest.FromJSON(`{"events": [{"table": "t", "op": "c", "after": {"id": 1, "a": {"_uint": -5}}}]}`)
	if err == nil {
		_, err = batch.Format(native, "{}")
	}
	if err == nil {
		t.Error("-5 is no uint")
	}
}
