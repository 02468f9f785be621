//go:build !wasip1

package formatter

import "deltaforge"

func export(*deltaforge.FormatterPlugin) {}
