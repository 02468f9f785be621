//! The file of `--tenants`.

use std::path::Path;

use deltaforge_config::{Report, read_settings};
use deltaforge_engine::tenants::TenantLimits;

/// What tenants may use; without a file, anything.
///
/// # Errors
///
/// A report of everything that is wrong in the file.
pub fn read(file: Option<&Path>) -> Result<TenantLimits, Report> {
    let environment = |name: &str| std::env::var(name).ok();
    file.map_or_else(|| Ok(TenantLimits::default()), |file| read_settings(file, &environment))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use deltaforge_config::read_settings_text;

    use super::*;

    fn of(text: &str) -> Result<TenantLimits, String> {
        read_settings_text("tenants.yaml", text, &|_| None).map_err(|report| report.to_string())
    }

    #[test]
    fn the_example_is_read() {
        let limits = read(Some(Path::new("../examples/host/tenants.yaml"))).unwrap();
        assert_eq!(limits.tenants["acme"].limits.cpu_ms, Some(200));
        assert_eq!((limits.weights["acme"].0, limits.host.stages), (3, Some(1_000)));
        assert_eq!(
            (of("").unwrap(), read(None).unwrap()),
            (TenantLimits::default(), TenantLimits::default())
        );
    }

    #[test]
    fn everything_wrong_is_told_at_once_with_its_place() {
        let text =
            "host:\n  stage: 5\ntenants:\n  acme:\n    limits: { cpu_ms: soon }\nweights: { acme: 0 }\n";
        let report = of(text).unwrap_err();
        for part in
            ["tenants.yaml:2:3", "stages", "tenants.yaml:5:23", "cpu_ms", "tenants.yaml:6:18", "weights.acme"]
        {
            assert!(report.contains(part), "{part}: {report}");
        }
        assert!(of("---\n{}\n---\n{}\n").unwrap_err().contains("more than one document"));
        assert!(read(Some(Path::new("nowhere.yaml"))).is_err());
    }
}
