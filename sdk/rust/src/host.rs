//! What the host lends a plugin besides the batch: a log, numbers for the metrics page, a clock.

/// Lines in the host's log, under the name of the pipeline and the stage. The host bounds their rate and length.
pub mod log {
    use crate::backend;

    /// How important a line is.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
    pub enum Level {
        /// For the plugin's author, in numbers.
        Trace,
        /// For the plugin's author.
        Debug,
        /// Worth knowing.
        Info,
        /// Something may be wrong.
        Warn,
        /// Something is wrong.
        Error,
    }

    /// Whether a message of this level goes anywhere.
    pub fn enabled(level: Level) -> bool {
        backend::log_enabled(level)
    }

    /// Writes a line with fields.
    pub fn write(level: Level, message: &str, fields: &[(&str, &str)]) {
        backend::log(level, message, fields);
    }

    /// Writes a line for the plugin's author.
    pub fn debug(message: impl AsRef<str>) {
        write(Level::Debug, message.as_ref(), &[]);
    }

    /// Writes a line worth knowing.
    pub fn info(message: impl AsRef<str>) {
        write(Level::Info, message.as_ref(), &[]);
    }

    /// Writes a warning.
    pub fn warn(message: impl AsRef<str>) {
        write(Level::Warn, message.as_ref(), &[]);
    }

    /// Writes an error.
    pub fn error(message: impl AsRef<str>) {
        write(Level::Error, message.as_ref(), &[]);
    }
}

/// Numbers for the host's metrics page, under the plugin's own prefix. Granted as `metrics`.
pub mod metrics {
    use crate::backend;

    /// Adds to a counter.
    pub fn add(counter: &str, delta: u64) {
        backend::metric_add(counter, delta);
    }

    /// Sets a gauge.
    pub fn set(gauge: &str, value: f64) {
        backend::metric_set(gauge, value);
    }

    /// Adds a value to a histogram.
    pub fn observe(histogram: &str, value: f64) {
        backend::metric_observe(histogram, value);
    }
}

/// The host's clock. Granted as `clock`.
pub mod clock {
    use crate::backend;

    /// Microseconds since 1970-01-01T00:00Z.
    pub fn now_micros() -> i64 {
        backend::clock_now()
    }

    /// Nanoseconds, only for differences.
    pub fn monotonic_nanos() -> u64 {
        backend::clock_monotonic()
    }
}
