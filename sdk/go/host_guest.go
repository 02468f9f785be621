//go:build wasip1

package deltaforge

import (
	"deltaforge/internal/bindings/deltaforge_plugin_clock"
	"deltaforge/internal/bindings/deltaforge_plugin_log"
	"deltaforge/internal/bindings/deltaforge_plugin_metrics"
	"deltaforge/internal/wit"
)

func writeLog(level Level, message string, fields []Field) {
	lowered := make([]wit.Tuple2[string, string], len(fields))
	for at, field := range fields {
		lowered[at] = wit.Tuple2[string, string]{F0: field.Name, F1: field.Value}
	}
	deltaforge_plugin_log.Log(uint8(level), message, lowered)
}

func logEnabled(level Level) bool { return deltaforge_plugin_log.Enabled(uint8(level)) }

func metricAdd(counter string, delta uint64) { deltaforge_plugin_metrics.Add(counter, delta) }

func metricSet(gauge string, value float64) { deltaforge_plugin_metrics.Set(gauge, value) }

func metricObserve(histogram string, value float64) {
	deltaforge_plugin_metrics.Observe(histogram, value)
}

func clockNow() int64 { return deltaforge_plugin_clock.Now() }

func clockMonotonic() uint64 { return deltaforge_plugin_clock.Monotonic() }
