// Package formatter makes a plugin a formatter: a program that imports it exports what DeltaForge calls.
//
//	func init() { formatter.Export(plugin) }
//
//	func main() {}
package formatter

import "deltaforge"

// Export makes plugin what the component is. It is called once, in an init function; outside WebAssembly it does
// nothing.
func Export(plugin *deltaforge.FormatterPlugin) { export(plugin) }
