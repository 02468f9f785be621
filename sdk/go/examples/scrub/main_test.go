package main

import (
	"reflect"
	"testing"

	"deltaforge/deltaforgetest"
)

func TestGoldenFiles(t *testing.T) {
	deltaforgetest.Golden(t, plugin, "../../../golden/scrub")
}

func TestEveryWayLeavesTheSame(t *testing.T) {
	outcomes := map[string][]string{}
	for _, by := range []string{"columns", "rows", "cells", "events"} {
		outcome, err := deltaforgetest.NewBatch().
			Insert("shop.orders", `{"id": 1, "email": "ada@example.com", "amount": 1500, "version": 1}`).
			Update("shop.orders", `{"id": 1, "email": "a@example.com", "version": 1}`, `{"id": 1, "email": null, "version": 2}`).
			Delete("shop.orders", `{"id": 1, "email": "ada@example.com"}`).
			Insert("shop.notes", `{"id": 1}`).
			Process(plugin, `{"by": "`+by+`"}`)
		if err != nil {
			t.Fatal(err)
		}
		for _, event := range outcome.Events() {
			outcomes[by] = append(outcomes[by], string(event))
		}
		if !reflect.DeepEqual(outcomes[by], outcomes["columns"]) {
			t.Errorf("by %s: %q\nby columns: %q", by, outcomes[by], outcomes["columns"])
		}
	}
}
