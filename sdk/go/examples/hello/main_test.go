package main

import (
	"slices"
	"testing"

	"deltaforge/deltaforgetest"
)

func TestEveryRowWithANameIsGreeted(t *testing.T) {
	outcome, err := deltaforgetest.NewBatch().
		Insert("shop.customers", `{"id": 1, "name": "Ada"}`).
		Insert("shop.customers", `{"id": 2, "name": null}`).
		Delete("shop.customers", `{"id": 3, "name": "Eve"}`).
		Insert("shop.orders", `{"id": 4, "total": 12}`).
		Process(plugin, `{"name": "name"}`)
	if err != nil {
		t.Fatal(err)
	}
	for row, greeting := range []string{"Hello, Ada!", "", "", ""} {
		if found := outcome.After(row, "greeting"); found != greeting {
			t.Errorf("row %d says %q", row, found)
		}
	}
}

func TestANameThatIsTooLongIsRejectedAndTheOthersGoOn(t *testing.T) {
	outcome, err := deltaforgetest.NewBatch().
		Insert("shop.customers", `{"id": 1, "name": "Bartholomew"}`).
		Insert("shop.customers", `{"id": 2, "name": "Bo"}`).
		Process(plugin, `{"name": "name", "longest": 5}`)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(outcome.Rejects(), []string{"the name is too long to be greeted"}) {
		t.Errorf("rejected: %q", outcome.Rejects())
	}
	if outcome.Len() != 1 || outcome.After(0, "greeting") != "Hello, Bo!" {
		t.Errorf("what goes on: %s", outcome.Events())
	}
}

func TestAConfigurationThatDoesNotFitIsRefused(t *testing.T) {
	for _, config := range []string{`{}`, `{"name": "name", "speed": 3}`, `{"name": "name", "into": "name"}`} {
		if _, err := deltaforgetest.NewBatch().Process(plugin, config); err == nil {
			t.Errorf("%s is taken", config)
		}
	}
}
