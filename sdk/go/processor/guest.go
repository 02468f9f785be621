//go:build wasip1

package processor

import (
	"deltaforge"
	"deltaforge/internal/bindings/deltaforge_plugin_events"
	"deltaforge/internal/bindings/deltaforge_plugin_lifecycle"
	"deltaforge/internal/bindings/deltaforge_plugin_types"
	"deltaforge/internal/guest"
	"deltaforge/internal/wit"
)

var (
	plugin   *deltaforge.ProcessorPlugin
	instance deltaforge.Processor
)

func export(exported *deltaforge.ProcessorPlugin) {
	if plugin != nil {
		panic("processor.Export is called twice")
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

func process(batch *deltaforge_plugin_events.Batch) wit.Result[wit.Unit, deltaforge_plugin_types.Failure] {
	defer guest.Explain()
	return guest.Answer(wit.Unit{}, guest.Process(batch, instance))
}
