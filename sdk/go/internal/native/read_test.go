package native_test

import (
	"encoding/json"
	"os"
	"testing"

	"deltaforge"
	"deltaforge/internal/native"
)

// What every SDK reads alike.
const shared = "../../../golden/kinds.json"

func TestCellsAndTheirColumnsAreReadAsInEverySDK(t *testing.T) {
	text, err := os.ReadFile(shared)
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Cells []struct {
			Cell     json.RawMessage `json:"cell"`
			Declared deltaforge.Kind `json:"declared"`
			Column   deltaforge.Kind `json:"column"`
			Is       deltaforge.Kind `json:"is"`
			Shown    json.RawMessage `json:"shown"`
			Fails    bool            `json:"fails"`
		} `json:"cells"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		t.Fatalf("%s: %v", shared, err)
	}
	if len(file.Cells) == 0 {
		t.Fatalf("%s has no cells", shared)
	}
	for _, one := range file.Cells {
		kind := one.Declared
		if kind == "" {
			if kind = native.KindOf(one.Cell); kind != one.Column {
				t.Errorf("%s makes a column of %s, not %s", one.Cell, kind, one.Column)
			}
		}
		value, err := native.CellOrNamed(one.Cell, kind)
		switch {
		case (err != nil) != one.Fails:
			t.Errorf("%s in a column of %s: %v", one.Cell, kind, err)
		case err != nil:
		case one.Is != "" && value.Kind() != one.Is:
			t.Errorf("%s in a column of %s is %s, not %s", one.Cell, kind, value.Kind(), one.Is)
		case one.Shown != nil && value.ToJSON() != string(one.Shown):
			t.Errorf("%s in a column of %s is shown as %s, not %s", one.Cell, kind, value.ToJSON(), one.Shown)
		}
	}
}
