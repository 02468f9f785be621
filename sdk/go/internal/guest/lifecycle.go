//go:build wasip1

package guest

import (
	"fmt"
	"runtime"
	"strings"

	"deltaforge"
	"deltaforge/internal/bindings/deltaforge_plugin_lifecycle"
	"deltaforge/internal/bindings/deltaforge_plugin_types"
	"deltaforge/internal/wit"
)

// Manifest is a manifest as the host takes it.
func Manifest(says deltaforge.Manifest) deltaforge_plugin_lifecycle.Manifest {
	return deltaforge_plugin_lifecycle.Manifest(says)
}

// Answer is what the host learns of a call.
func Answer[T any](value T, err error) wit.Result[T, deltaforge_plugin_types.Failure] {
	if err == nil {
		return wit.Ok[T, deltaforge_plugin_types.Failure](value)
	}
	failure := deltaforge.FailureOf(err)
	return wit.Err[T](deltaforge_plugin_types.Failure{Kind: string(failure.Kind), Message: failure.Message})
}

// Explain is deferred around a call: it writes into the log why the plugin panics and where, since what Go prints goes
// nowhere. The panic goes on and traps.
func Explain() {
	problem := recover()
	if problem == nil {
		return
	}
	deltaforge.Log(deltaforge.LevelError, fmt.Sprintf("panic: %v", problem), deltaforge.F("at", where()))
	panic(problem)
}

// where are the functions that led to the panic, innermost first, without Go's own and the SDK's.
func where() string {
	var callers [32]uintptr
	frames := runtime.CallersFrames(callers[:runtime.Callers(1, callers[:])])
	var out strings.Builder
	for {
		frame, more := frames.Next()
		name := frame.Function
		if !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "deltaforge") {
			if out.Len() > 0 {
				out.WriteString(" < ")
			}
			file := frame.File[strings.LastIndexByte(frame.File, '/')+1:]
			fmt.Fprintf(&out, "%s (%s:%d)", name, file, frame.Line)
		}
		if !more {
			return out.String()
		}
	}
}
