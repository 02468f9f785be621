package main

import (
	"testing"

	"deltaforge/deltaforgetest"
)

// The plugin in an ordinary test program: no host, no WebAssembly.
func TestABodyHoldsTheRowThatIsThere(t *testing.T) {
	bodies, err := deltaforgetest.NewBatch().
		Insert("shop.customers", `{"id": 1}`).
		Delete("shop.customers", `{"id": 2}`).
		Format(plugin, `{"member": "data"}`)
	if err != nil {
		t.Fatal(err)
	}
	for row, wanted := range []string{
		`{"table":"customers","op":"c","data":{"id":1}}`,
		`{"table":"customers","op":"d","data":{"id":2}}`,
	} {
		if found := string(bodies.Get(row)); found != wanted {
			t.Errorf("row %d is %s", row, found)
		}
	}
}

func TestAConfigurationThatDoesNotFitIsRefused(t *testing.T) {
	for _, config := range []string{`{"member": "op"}`, `{"colour": "red"}`} {
		if _, err := deltaforgetest.NewBatch().Format(plugin, config); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}

// `deltaforge plugin test` holds the component to the same files; its `--bless` writes them.
func TestWhatComesOutIsWhatTheGoldenFilesSay(t *testing.T) {
	deltaforgetest.GoldenFormatter(t, plugin, "golden")
}
