package main

import (
	"os"
	"slices"
	"testing"

	"deltaforge"
	"deltaforge/deltaforgetest"
)

// Every kind of value, in every place.
func batch(t *testing.T) *deltaforgetest.Batch {
	t.Helper()
	text, err := os.ReadFile("../../../../plugins/golden/batch.in.json")
	if err != nil {
		t.Fatal(err)
	}
	batch, err := deltaforgetest.FromJSON(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return batch
}

func events(t *testing.T, act string) (events []string) {
	t.Helper()
	outcome, err := batch(t).Process(plugin, `{"act": "`+act+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	for _, event := range outcome.Events() {
		events = append(events, string(event))
	}
	return events
}

func TestAnIdentityLeavesTheBatchAsItIs(t *testing.T) {
	untouched := events(t, "pass")
	for _, act := range []string{
		"identity-columns", "identity-rows", "identity-cells", "identity-images", "identity-json",
	} {
		found := events(t, act)
		if !slices.Equal(found, untouched) {
			t.Errorf("%s leaves\n%s\nof\n%s", act, found, untouched)
		}
	}
}

func TestAnEditThatMakesNoSenseIsAnError(t *testing.T) {
	for _, act := range []string{"edits-nowhere", "short-mask"} {
		if _, err := batch(t).Process(plugin, `{"act": "`+act+`"}`); err == nil {
			t.Errorf("%s is taken", act)
		}
	}
}

func TestAFailureSaysWhatTheHostDoes(t *testing.T) {
	for act, kind := range map[string]deltaforge.FailureKind{
		"retries": deltaforge.KindRetry, "fails": deltaforge.KindFatal, "no such act": deltaforge.KindFatal,
	} {
		_, err := batch(t).Process(plugin, `{"act": "`+act+`"}`)
		if err == nil || deltaforge.FailureOf(err).Kind != kind {
			t.Errorf("%s: %v", act, err)
		}
	}
}

func TestAHandlerOfEventsRejectsThemOneByOne(t *testing.T) {
	outcome, err := batch(t).Process(plugin, `{"act": "rejects"}`)
	if err != nil {
		t.Fatal(err)
	}
	if len(outcome.Rejects()) != 7 || outcome.Len() != 0 {
		t.Errorf("%d rejected, %d go on", len(outcome.Rejects()), outcome.Len())
	}
}
