// MY-DESCRIPTION.
package main

import (
	"deltaforge"
	"deltaforge/processor"
)

// Config is what stands under `config:` in the pipeline's file.
type Config struct {
	// Column is the column whose digits are hidden.
	Column string `json:"column"`
}

var plugin = deltaforge.NewProcessor(
	deltaforge.Manifest{Name: "my-plugin", Version: "0.1.0", Description: "MY-DESCRIPTION"},
	Config{}, // the defaults
	open,
)

func init() { processor.Export(plugin) }

func main() {}

// hideDigits is the plugin. One instance sees all batches of one processor, so it may keep state between calls; a call
// that fails ends the instance.
type hideDigits struct{ Config }

func open(config Config) (deltaforge.Processor, error) {
	if config.Column == "" {
		return nil, deltaforge.Fatal("`column` is missing: the column whose digits are hidden")
	}
	return &hideDigits{config}, nil
}

func (h *hideDigits) Process(batch *deltaforge.Batch) error {
	for _, image := range deltaforge.Images {
		batch.MapTexts(image, h.Column, func(text, out []byte) []byte {
			for _, c := range text {
				if '0' <= c && c <= '9' {
					c = '#'
				}
				out = append(out, c)
			}
			return out
		})
	}
	return nil
}
