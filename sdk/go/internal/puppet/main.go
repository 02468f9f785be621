// Puppet does what its configuration says: a guest for the host's tests and benchmarks, as the one in Rust is. Its acts
// have the same names and leave the same batch.
package main

import (
	"math"
	"slices"

	"deltaforge"
	"deltaforge/processor"
)

type config struct {
	Act string `json:"act"`
}

var plugin = deltaforge.NewProcessor(
	deltaforge.Manifest{Name: "go-puppet", Version: "1.0.0", Description: "does what it is told"},
	config{Act: "pass"},
	open,
)

func init() { processor.Export(plugin) }

func main() {}

func open(config config) (deltaforge.Processor, error) {
	act, known := acts[config.Act]
	if !known {
		return nil, deltaforge.Fatal("there is no act %s", config.Act)
	}
	return act, nil
}

var acts = map[string]deltaforge.ProcessorFunc{
	"pass":             func(*deltaforge.Batch) error { return nil },
	"filter":           filter,
	"redact-columns":   redactColumns,
	"redact-cells":     redactCells,
	"redact-events":    deltaforge.PerEvent(redactEvent).Process,
	"identity-columns": identityColumns,
	"identity-rows":    identityRows,
	"identity-cells":   identityCells,
	"identity-images":  identityImages,
	"identity-json":    func(batch *deltaforge.Batch) error { return batch.ReplaceJSON(batch.ToJSON()) },
	"traps":            trap,
	"loops":            func(*deltaforge.Batch) error { spin(); return nil },
	"recurses":         func(batch *deltaforge.Batch) error { recurse(batch.Len()); return nil },
	"grows":            grow,
	"edits-nowhere":    func(batch *deltaforge.Batch) error { batch.Tag(batch.Len()+7, "x"); return nil },
	"short-mask":       func(batch *deltaforge.Batch) error { batch.Keep([]bool{true}); return nil },
	"retries":          func(*deltaforge.Batch) error { return deltaforge.Retry("the other side sleeps") },
	"fails":            func(*deltaforge.Batch) error { return deltaforge.Fatal("no") },
	"rejects":          deltaforge.PerEvent(func(*deltaforge.Event) error { return deltaforge.Reject("no") }).Process,
	"collects":         collect,
}

func filter(batch *deltaforge.Batch) error {
	status, ids := batch.Flats(deltaforge.After, "status"), batch.Ints(deltaforge.After, "id")
	mask := make([]bool, batch.Len())
	for row := range mask {
		text, _ := status.Text(row)
		negative := ids.Present[row] == deltaforge.PresenceValue && ids.Values[row] < 0
		mask[row] = text != "new" && !negative
	}
	batch.Keep(mask)
	return nil
}

func redactColumns(batch *deltaforge.Batch) error {
	for _, image := range deltaforge.Images {
		batch.Fill(image, "email", deltaforge.Text("***"))
	}
	batch.TagWhere(nil, "redacted")
	counts := batch.Ints(deltaforge.After, "quantity")
	for row, presence := range counts.Present {
		if presence == deltaforge.PresenceValue {
			counts.Values[row]++
		}
	}
	batch.SetInts(deltaforge.After, "quantity", counts)
	return nil
}

func redactCells(batch *deltaforge.Batch) error {
	email, hasEmail := batch.Column("email")
	quantity, hasQuantity := batch.Column("quantity")
	if !hasEmail || !hasQuantity {
		return nil
	}
	for row := range batch.Len() {
		for _, image := range deltaforge.Images {
			if batch.Get(row, image, email).Kind() == deltaforge.KindText {
				batch.Set(row, image, email, deltaforge.Text("***"))
			}
		}
		if count, is := batch.Get(row, deltaforge.After, quantity).AsInt64(); is {
			batch.Set(row, deltaforge.After, quantity, deltaforge.Int(count+1))
		}
		batch.Tag(row, "redacted")
	}
	return nil
}

func redactEvent(event *deltaforge.Event) error {
	for _, image := range deltaforge.Images {
		if event.Get(image, "email").Kind() == deltaforge.KindText {
			event.Set(image, "email", deltaforge.Text("***"))
		}
	}
	if count, is := event.After("quantity").AsInt64(); is {
		event.Set(deltaforge.After, "quantity", deltaforge.Int(count+1))
	}
	event.Tag("redacted")
	return nil
}

func columns(batch *deltaforge.Batch) []string {
	var names []string
	for _, table := range batch.Tables() {
		for _, column := range table.Columns {
			names = append(names, column.Name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func identityColumns(batch *deltaforge.Batch) error {
	for _, image := range deltaforge.Images {
		for _, name := range columns(batch) {
			batch.SetInts(image, name, batch.Ints(image, name))
			batch.SetFloats(image, name, batch.Floats(image, name))
			batch.SetFlats(image, name, batch.Flats(image, name))
		}
	}
	return nil
}

func identityRows(batch *deltaforge.Batch) error {
	tables := batch.Tables()
	ids := map[string]deltaforge.ColumnID{}
	for _, name := range columns(batch) {
		ids[name], _ = batch.Column(name)
	}
	for at, row := range batch.Rows() {
		batch.SetOp(at, row.Op)
		for _, image := range deltaforge.Images {
			for nth, column := range tables[row.Table].Columns {
				batch.Set(at, image, ids[column.Name], row.Get(image, nth))
			}
		}
	}
	return nil
}

func identityCells(batch *deltaforge.Batch) error {
	for _, name := range columns(batch) {
		column, _ := batch.Column(name)
		for row := range batch.Len() {
			for _, image := range deltaforge.Images {
				batch.Set(row, image, column, batch.Get(row, image, column))
			}
		}
	}
	return nil
}

func identityImages(batch *deltaforge.Batch) error {
	tables := batch.Tables()
	for at, row := range batch.Rows() {
		for _, image := range deltaforge.Images {
			if !row.Has(image) {
				batch.RemoveImage(at, image)
				continue
			}
			values := deltaforge.Row{}
			for nth, column := range tables[row.Table].Columns {
				values = append(values, deltaforge.Named{Column: column.Name, Value: row.Get(image, nth)})
			}
			batch.SetImage(at, image, values)
		}
	}
	return nil
}

func trap(batch *deltaforge.Batch) error {
	rows := []int{}
	batch.Tag(rows[batch.Len()], "never")
	return nil
}

// spin never comes back.
func spin() {
	for math.Sqrt(2) > 1 {
	}
}

func recurse(n int) int { return recurse(n+1) + 1 }

func grow(*deltaforge.Batch) error {
	var held [][]byte
	for {
		held = append(held, slices.Repeat([]byte{1}, 1<<20))
		if len(held) < 0 {
			return nil
		}
	}
}

// collect keeps the garbage collector at work while lists cross.
func collect(batch *deltaforge.Batch) error {
	texts := map[string]int{}
	for range 20 {
		for _, image := range deltaforge.Images {
			for _, row := range batch.Rows() {
				for nth := range 4 {
					text, _ := row.Get(image, nth).AsString()
					texts[text+image.String()]++
				}
			}
			flat := batch.Flats(image, "note")
			for row := range batch.Len() {
				text, _ := flat.Text(row)
				texts[text]++
			}
		}
	}
	batch.HeaderWhere(nil, "texts", deltaforge.Int(int64(len(texts))).ToJSON())
	return nil
}
