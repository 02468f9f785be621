// Package deltaforge is for writing DeltaForge plugins in Go.
//
// A plugin is a type that is a [Processor] (it edits change events) or a [Formatter] (it shapes them into message
// bodies), a definition that says how it is made of its configuration, and one line that exports it:
//
//	package main
//
//	import (
//		"deltaforge"
//		"deltaforge/processor"
//	)
//
//	// Config stands under `config:` in the pipeline's file.
//	type Config struct {
//		Column string `json:"column"`
//	}
//
//	type hideDigits struct{ Config }
//
//	func (h *hideDigits) Process(batch *deltaforge.Batch) error {
//		for _, image := range deltaforge.Images {
//			batch.MapTexts(image, h.Column, func(text, out []byte) []byte {
//				for _, c := range text {
//					if '0' <= c && c <= '9' {
//						c = '#'
//					}
//					out = append(out, c)
//				}
//				return out
//			})
//		}
//		return nil
//	}
//
//	var plugin = deltaforge.NewProcessor(
//		deltaforge.Manifest{Name: "hide-digits", Version: "1.0.0", Description: "takes the digits out of a column"},
//		Config{Column: "phone"},
//		func(config Config) (deltaforge.Processor, error) { return &hideDigits{config}, nil },
//	)
//
//	func init() { processor.Export(plugin) }
//
//	func main() {}
//
// The same source is a WebAssembly component when it is built for wasip1, and an ordinary program anywhere else, so
// that `go test` runs it without a host: see package deltaforge/deltaforgetest.
//
// There are four ways to touch a batch, and they mix: whole columns ([Batch.Ints], [Batch.Flats], by far the fastest),
// rows ([Batch.Rows], [Batch.Events]), single cells ([Batch.Get]), and JSON ([Batch.ToJSON]). Getters answer the batch
// as it came; changes are kept aside and take effect together when the call has returned nil.
//
// # What there is not
//
// A component has no files, no network, no environment and no true random numbers, and what it prints goes nowhere.
// Time stands nearly still in package time: ask [NowMicros]. A goroutine runs only while a call does.
package deltaforge

// Manifest is what a plugin says of itself.
type Manifest struct {
	// Name is the plugin's name, as the registry knows it.
	Name string
	// Version is the plugin's version, `1.2.3`.
	Version string
	// Description says what it does, in a sentence.
	Description string
	// Tables are patterns of the tables it wants to see (`shop.*`, `orders`); empty: all. Rows of others pass it by.
	Tables []string
	// Reads are the columns it reads, for people who decide whether to use it; empty: not said.
	Reads []string
	// Writes are the columns it may change or add, likewise.
	Writes []string
	// ConfigSchema is what its `config` may be, as JSON Schema: the host refuses another one before the plugin sees it.
	// Empty: not said.
	ConfigSchema string
}

// A Processor edits events. One instance sees all batches of one stage, one at a time, so it may keep state between
// calls; a call that panics or passes a limit ends the instance.
type Processor interface {
	// Process looks at a batch of at most a few hundred events and edits it.
	//
	// An error means that the call could not do its work; no edit of it is applied. See [Retry] and [Fatal]. Single
	// events that are at fault are better rejected: [Batch.Reject].
	Process(batch *Batch) error
}

// A Formatter shapes events into message bodies.
//
// One that has a method `ContentType() string` says with it what the bodies are, as a MIME type; the others make
// `application/json`.
type Formatter interface {
	// Format makes one body for each row, in order. The batch cannot be edited.
	//
	// An error means that the call could not do its work. Single rows that cannot be written go to [Bodies.Reject].
	Format(batch *Batch, bodies *Bodies) error
}

// ProcessorFunc is a processor without state.
type ProcessorFunc func(batch *Batch) error

// Process calls the function.
func (f ProcessorFunc) Process(batch *Batch) error { return f(batch) }

// A ProcessorPlugin defines a processor; see [NewProcessor].
type ProcessorPlugin struct {
	// Manifest is what it says of itself.
	Manifest Manifest
	open     func(config string) (Processor, error)
}

// NewProcessor defines a processor. open makes the instance that sees the batches; it is called once, before the first,
// with the stage's configuration: defaults, with what the stage says over them. A key that C does not have is refused
// before, so that a typo does not change silently what a pipeline does. An error of open is a problem of the
// configuration: the pipeline does not start.
func NewProcessor[C any](manifest Manifest, defaults C, open func(config C) (Processor, error)) *ProcessorPlugin {
	return &ProcessorPlugin{manifest, opener(defaults, open)}
}

// Open makes an instance of a configuration in JSON. It is called by the host and by tests.
func (p *ProcessorPlugin) Open(config string) (Processor, error) { return p.open(config) }

// A FormatterPlugin defines a formatter; see [NewFormatter].
type FormatterPlugin struct {
	// Manifest is what it says of itself.
	Manifest Manifest
	open     func(config string) (Formatter, error)
}

// NewFormatter defines a formatter, as [NewProcessor] does a processor.
func NewFormatter[C any](manifest Manifest, defaults C, open func(config C) (Formatter, error)) *FormatterPlugin {
	return &FormatterPlugin{manifest, opener(defaults, open)}
}

// Open makes an instance of a configuration in JSON. It is called by the host and by tests.
func (p *FormatterPlugin) Open(config string) (Formatter, error) { return p.open(config) }

// ContentType is what a formatter's bodies are, as a MIME type.
func ContentType(formatter Formatter) string {
	if says, ok := formatter.(interface{ ContentType() string }); ok {
		return says.ContentType()
	}
	return "application/json"
}

// opener decodes a configuration over a copy of its defaults.
func opener[C, P any](defaults C, open func(config C) (P, error)) func(config string) (P, error) {
	return func(text string) (P, error) {
		config := defaults
		if err := decodeConfig(text, &config); err != nil {
			var none P
			return none, err
		}
		return open(config)
	}
}
