package main

import (
	"testing"

	"deltaforge/deltaforgetest"
)

// The same plugin stands in sdk/rust/samples/hello and passes the same files.
func TestGoldenFiles(t *testing.T) {
	deltaforgetest.Golden(t, plugin, "../../../golden/hello")
}
