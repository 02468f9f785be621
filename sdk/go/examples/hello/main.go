// A first plugin: gives every row a greeting, made of the name that one of its columns holds.
//
// `deltaforge plugin new --lang go` begins one of your own; docs/PLUGINS.md walks through it.
package main

import (
	"unicode/utf8"

	"deltaforge"
	"deltaforge/processor"
)

// Config is what stands under `config:` in the pipeline's file.
type Config struct {
	// Name is the column that holds the name.
	Name string `json:"name"`
	// Into is the column that gets the greeting; made where a table lacks it.
	Into string `json:"into"`
	// Longest is the longest name that is greeted, in characters; a row with a longer one is rejected.
	Longest int `json:"longest"`
}

var plugin = deltaforge.NewProcessor(
	deltaforge.Manifest{Name: "hello", Version: "1.0.0", Description: "greets every row by name"},
	Config{Into: "greeting", Longest: 64},
	open,
)

func init() { processor.Export(plugin) }

func main() {}

// hello is the plugin. One instance sees all batches of one stage, so it may keep state between calls.
type hello struct{ Config }

func open(config Config) (deltaforge.Processor, error) {
	switch config.Name {
	case "":
		return nil, deltaforge.Fatal("`name` is missing: the column that holds the name")
	case config.Into:
		return nil, deltaforge.Fatal("`into` must not be the column that holds the name")
	}
	return &hello{config}, nil
}

func (h *hello) Process(batch *deltaforge.Batch) error {
	if _, found := batch.Column(h.Name); !found {
		return nil // no table of this batch has it
	}
	rows := batch.Rows(h.Name)
	target := batch.AddColumn(h.Into, deltaforge.KindText)
	for at := range rows {
		// NULL, a value that the source did not log, a delete without an after image: nobody to greet.
		name, is := rows[at].After(0).AsString()
		if !is {
			continue
		}
		if utf8.RuneCountInString(name) > h.Longest {
			batch.Reject(at, "the name is too long to be greeted")
			continue
		}
		batch.Set(at, deltaforge.After, target, deltaforge.Text("Hello, "+name+"!"))
	}
	return nil
}
