// MY-DESCRIPTION.
package main

import (
	"deltaforge"
	"deltaforge/formatter"
)

// Config is what stands under `config:` of the sink's envelope.
type Config struct {
	// Member is the name of the member that holds the row.
	Member string `json:"member"`
}

var plugin = deltaforge.NewFormatter(
	deltaforge.Manifest{Name: "my-plugin", Version: "0.1.0", Description: "MY-DESCRIPTION"},
	Config{Member: "row"}, // the defaults
	open,
)

func init() { formatter.Export(plugin) }

func main() {}

// rows is the plugin.
type rows struct{ Config }

func open(config Config) (deltaforge.Formatter, error) {
	switch config.Member {
	case "", "table", "op":
		return nil, deltaforge.Fatal("`member` must be a name of its own")
	}
	return &rows{config}, nil
}

func (r *rows) Format(batch *deltaforge.Batch, bodies *deltaforge.Bodies) error {
	tables, tableOf, ops := batch.Tables(), batch.TableOf(), batch.Ops()
	before, after := batch.JSONRows(deltaforge.Before), batch.JSONRows(deltaforge.After)
	for row := range batch.Len() {
		// A deleted row has an image of before only; a truncated table has none.
		image, found := after.Text(row)
		if !found {
			image, found = before.Text(row)
		}
		if !found {
			image = "null"
		}
		bodies.Push(func(out []byte) []byte {
			out = append(out, `{"table":`...)
			out = deltaforge.AppendJSONString(out, tables[tableOf[row]].Name)
			out = append(out, `,"op":`...)
			out = deltaforge.AppendJSONString(out, ops[row].String())
			out = append(out, ',')
			out = deltaforge.AppendJSONString(out, r.Member)
			out = append(out, ':')
			out = append(out, image...)
			return append(out, '}')
		})
	}
	return nil
}
