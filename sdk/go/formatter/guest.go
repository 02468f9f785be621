//go:build wasip1

package formatter

import (
	"deltaforge"
	"deltaforge/internal/bindings/deltaforge_plugin_events"
	"deltaforge/internal/bindings/deltaforge_plugin_formatting"
	"deltaforge/internal/bindings/deltaforge_plugin_lifecycle"
	"deltaforge/internal/bindings/deltaforge_plugin_types"
	"deltaforge/internal/guest"
	"deltaforge/internal/wit"
)

var (
	plugin   *deltaforge.FormatterPlugin
	instance deltaforge.Formatter
	// Of the last call: the buffers are used again.
	bodies deltaforge.Bodies
)

func export(exported *deltaforge.FormatterPlugin) {
	if plugin != nil {
		panic("formatter.Export is called twice")
	}
	plugin = exported
}

func describe() deltaforge_plugin_lifecycle.Manifest {
	return guest.Manifest(plugin.Manifest)
}

func open(config string) wit.Result[wit.Unit, deltaforge_plugin_types.Failure] {
	defer guest.Explain()
	opened, err := plugin.Open(config)
	if err == nil {
		instance = opened
	}
	return guest.Answer(wit.Unit{}, err)
}

func contentType() string {
	defer guest.Explain()
	return deltaforge.ContentType(instance)
}

func format(
	batch *deltaforge_plugin_events.Batch,
) wit.Result[deltaforge_plugin_formatting.Messages, deltaforge_plugin_types.Failure] {
	defer guest.Explain()
	bodies.Clear()
	err := guest.Format(batch, instance, &bodies)
	messages := deltaforge_plugin_formatting.Messages{Bodies: deltaforge_plugin_types.Flat(*bodies.Flat())}
	for _, reject := range bodies.Rejects() {
		messages.Rejects = append(messages.Rejects, wit.Tuple2[uint32, string]{F0: uint32(reject.Row), F1: reject.Reason})
	}
	return guest.Answer(messages, err)
}
