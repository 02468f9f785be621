//go:build !wasip1

package deltaforge

import (
	"sync"
	"time"
)

// Host is what a plugin is lent besides the batch, where it is no component.
type Host interface {
	LogEnabled(level Level) bool
	Log(level Level, message string, fields []Field)
	MetricAdd(counter string, delta uint64)
	MetricSet(gauge string, value float64)
	MetricObserve(histogram string, value float64)
}

var (
	lock  sync.RWMutex
	lent  Host
	start = time.Now()
)

// SetHost puts a host behind [Log] and the metrics, and answers the one before. Without one (nil, as at the start) both
// go nowhere.
func SetHost(host Host) (before Host) {
	lock.Lock()
	defer lock.Unlock()
	before, lent = lent, host
	return before
}

func withHost(call func(Host)) {
	lock.RLock()
	host := lent
	lock.RUnlock()
	if host != nil {
		call(host)
	}
}

func writeLog(level Level, message string, fields []Field) {
	withHost(func(host Host) { host.Log(level, message, fields) })
}

func logEnabled(level Level) (enabled bool) {
	withHost(func(host Host) { enabled = host.LogEnabled(level) })
	return enabled
}

func metricAdd(counter string, delta uint64) {
	withHost(func(host Host) { host.MetricAdd(counter, delta) })
}

func metricSet(gauge string, value float64) {
	withHost(func(host Host) { host.MetricSet(gauge, value) })
}

func metricObserve(histogram string, value float64) {
	withHost(func(host Host) { host.MetricObserve(histogram, value) })
}

func clockNow() int64 { return time.Now().UnixMicro() }

func clockMonotonic() uint64 { return uint64(time.Since(start)) }
