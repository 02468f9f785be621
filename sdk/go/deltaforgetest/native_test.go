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
