package main

import (
	"testing"

	"deltaforge/deltaforgetest"
)

// The plugin in an ordinary test program: no host, no WebAssembly.
func TestDigitsAreHiddenAndTheRestStays(t *testing.T) {
	outcome, err := deltaforgetest.NewBatch().
		Insert("shop.customers", `{"id": 1, "phone": "555-0199"}`).
		Process(plugin, `{"column": "phone"}`)
	if err != nil {
		t.Fatal(err)
	}
	if found := outcome.After(0, "phone"); found != "###-####" {
		t.Errorf("the phone is %q", found)
	}
}

func TestAConfigurationThatDoesNotFitIsRefused(t *testing.T) {
	for _, config := range []string{`{}`, `{"column": ""}`, `{"column": "phone", "colour": "red"}`} {
		if _, err := deltaforgetest.NewBatch().Process(plugin, config); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}

// `deltaforge plugin test` holds the component to the same files; its `--bless` writes them.
func TestWhatComesOutIsWhatTheGoldenFilesSay(t *testing.T) {
	deltaforgetest.Golden(t, plugin, "golden")
}
