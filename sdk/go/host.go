package deltaforge

import "fmt"

// Level says how important a line of the log is.
type Level uint8

const (
	// LevelTrace is for the plugin's author, in numbers.
	LevelTrace Level = iota
	// LevelDebug is for the plugin's author.
	LevelDebug
	// LevelInfo is worth knowing.
	LevelInfo
	// LevelWarn: something may be wrong.
	LevelWarn
	// LevelError: something is wrong.
	LevelError
)

// Field is a field of a line of the log.
type Field struct{ Name, Value string }

// F makes a field of any value, as [fmt.Sprint] shows it.
func F(name string, value any) Field { return Field{name, fmt.Sprint(value)} }

// Log writes a line with fields into the host's log, under the name of the pipeline and the stage. The host bounds the
// lines' rate and length.
func Log(level Level, message string, fields ...Field) { writeLog(level, message, fields) }

// LogEnabled says whether a message of this level goes anywhere.
func LogEnabled(level Level) bool { return logEnabled(level) }

// Debug writes a line for the plugin's author.
func Debug(message string, fields ...Field) { Log(LevelDebug, message, fields...) }

// Info writes a line worth knowing.
func Info(message string, fields ...Field) { Log(LevelInfo, message, fields...) }

// Warn writes a warning.
func Warn(message string, fields ...Field) { Log(LevelWarn, message, fields...) }

// Error writes an error.
func Error(message string, fields ...Field) { Log(LevelError, message, fields...) }

// Add adds to a counter of the host's metrics page, under the plugin's own prefix. Granted as `metrics`.
func Add(counter string, delta uint64) { metricAdd(counter, delta) }

// SetGauge sets a gauge. Granted as `metrics`.
func SetGauge(gauge string, value float64) { metricSet(gauge, value) }

// Observe adds a value to a histogram. Granted as `metrics`.
func Observe(histogram string, value float64) { metricObserve(histogram, value) }

// NowMicros is the time in microseconds since 1970-01-01T00:00Z. Granted as `clock`.
func NowMicros() int64 { return clockNow() }

// MonotonicNanos are nanoseconds, only for differences. Granted as `clock`.
func MonotonicNanos() uint64 { return clockMonotonic() }
