// Package processor makes a plugin a processor: a program that imports it exports what DeltaForge calls.
//
//	func init() { processor.Export(plugin) }
//
//	func main() {}
package processor

import "deltaforge"

// Export makes plugin what the component is. It is called once, in an init function; outside WebAssembly it does
// nothing.
func Export(plugin *deltaforge.ProcessorPlugin) { export(plugin) }
