//go:build !wasip1

package processor

import "deltaforge"

func export(*deltaforge.ProcessorPlugin) {}
