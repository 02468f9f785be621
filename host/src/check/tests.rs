//! How far documents that were sent are checked.

use std::time::{Duration, Instant};

use deltaforge_config::Effort;

use super::*;

#[test]
fn a_code_without_a_page_is_answered_with_what_may_be_meant_or_a_list_to_read() {
    let known: Vec<&str> = ERROR_PAGES.iter().map(|(code, _)| *code).collect();
    let said = |code: &str| no_page(code, &code.to_lowercase(), &known);
    assert_eq!(
        said("plugin_dedline"),
        "error: no page for \"plugin_dedline\"; did you mean plugin_deadline?"
    );
    let part = said("memory");
    assert!(part.contains("did you mean") && part.contains("plugin_memory"), "{part}");
    let all = said("nope");
    let lines: Vec<&str> = all.lines().skip(1).collect();
    assert!(all.starts_with("error: no page for \"nope\"; there are pages for:\n"), "{all}");
    assert!(lines.iter().all(|line| line.starts_with("  ") && line.len() <= 100), "{all}");
    let listed: usize = lines.iter().map(|line| line.split_whitespace().count()).sum();
    assert_eq!(listed, known.len(), "each is there once: {all}");
    assert_eq!(in_columns(&["a", "bb", "c"], 12), "\n  a   c\n  bb");
    assert_eq!(in_columns(&[], 12), "");
}

fn builders() -> (Builders, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Builders::new(dir.path(), None).unwrap(), dir)
}

fn document(processors: impl Iterator<Item = String>) -> String {
    let processors: String = processors.map(|block| format!("    - {{ {block} }}\n")).collect();
    format!(
        "metadata: {{ name: many, tenant: acme }}\nspec:\n  source: {{ type: sqlite, config: {{ id: s, path: ./s.db }} }}\n  \
         processors:\n{processors}  sinks: [{{ type: \"null\", config: {{ id: n }} }}]\n"
    )
}

fn scripts(many: usize, text: &str) -> String {
    document((0..many).map(|n| format!("type: javascript, id: s{n}, inline: \"{text}\"")))
}

fn read(builders: &Builders, text: &str, effort: &Effort) -> Result<usize, Report> {
    let read = builders.catalog.read_sent("body", text, &|_| None, effort);
    read.map(|pipelines| pipelines[0].spec.spec.processors.len())
}

#[test]
fn scripts_that_would_never_end_are_only_compiled() {
    let (builders, _dir) = builders();
    let effort = Effort::bounded(0, Instant::now() + Duration::from_secs(60));
    let valid = read(&builders, &scripts(300, "for (;;) {}"), &effort);
    assert_eq!(valid.unwrap_or_else(|report| panic!("{report}")), 300);
    assert_eq!((effort.not_run(), effort.is_cut_short()), (300, false));
    let effort = Effort::bounded(0, Instant::now() + Duration::from_secs(60));
    let report = read(&builders, &scripts(1, "let a = ;"), &effort).unwrap_err();
    assert!(report.to_string().contains("SyntaxError"), "{report}");
}

#[test]
fn what_could_not_be_seated_alone_is_refused_where_nothing_is_run_too() {
    let dir = tempfile::tempdir().unwrap();
    let limits = serde_json::json!({ "tenants": { "acme": { "memory_mb": 100 } } });
    let tenants = Tenants::new(serde_json::from_value(limits).unwrap(), 1);
    let builders = Builders::for_tenants(dir.path(), None, 0, tenants).unwrap();
    for runs in [0, 1] {
        let checked = |limits: &str| {
            let script =
                format!("type: javascript, id: s, inline: \"(event) => event\", limits: {{ {limits} }}");
            let effort = Effort::bounded(runs, Instant::now() + Duration::from_secs(60));
            read(&builders, &document(std::iter::once(script)), &effort)
        };
        assert_eq!(checked("mem_mb: 100").unwrap_or_else(|report| panic!("{report}")), 1);
        let refused = checked("mem_mb: 101").unwrap_err().to_string();
        assert!(refused.contains("tenants.acme.memory_mb"), "{runs}: {refused}");
    }
}

#[test]
fn a_limit_that_is_written_out_is_asked_for_whatever_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let limits = serde_json::json!({ "tenants": { "acme": { "limits": { "cpu_ms": 30 } } } });
    let tenants = Tenants::new(serde_json::from_value(limits).unwrap(), 1);
    let builders = Builders::for_tenants(dir.path(), None, 0, tenants).unwrap();
    let checked = |limits: &str| {
        let script = format!("type: javascript, id: s, inline: \"(event) => event\"{limits}");
        let effort = Effort::bounded(0, Instant::now() + Duration::from_secs(60));
        read(&builders, &document(std::iter::once(script)), &effort)
    };
    // Both have the default: one says nothing and is cut down, the other would get less than it says.
    assert_eq!(checked("").unwrap_or_else(|report| panic!("{report}")), 1);
    let refused = checked(", limits: { cpu_ms: 50 }").unwrap_err().to_string();
    assert!(refused.contains("tenants.acme.limits.cpu_ms"), "{refused}");
}

#[test]
fn so_many_are_run_and_the_time_has_an_end() {
    let (builders, _dir) = builders();
    let endless = scripts(100, "for (;;) {}");
    let effort = Effort::bounded(2, Instant::now() + Duration::from_secs(60));
    let report = read(&builders, &endless, &effort).unwrap_err();
    assert_eq!((report.problems().len(), effort.not_run()), (2, 98), "{report}");
    assert!(report.to_string().contains("ran longer than"), "{report}");
    let (began, effort) = (Instant::now(), Effort::bounded(100, Instant::now() + Duration::from_secs(2)));
    let report = read(&builders, &endless, &effort).unwrap_err();
    assert!(effort.is_cut_short() && report.problems().len() < 10, "{report}");
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

#[test]
fn every_key_of_a_plugins_configuration_that_does_not_fit_is_told_at_once() {
    let (builders, _dir) = builders();
    let config = "colums: 5, on_collision: maybe, columns: [{ from: a, to: b, too: c }], yy: {}";
    let rename = format!("plugin: rename@1, id: f, config: {{ {config} }}");
    let whose = "plugin: '@rival/mask@1', id: g".to_owned();
    let columns = "columns: [{ name: customers.email, action: redact }]";
    let huge = format!("plugin: mask@1, id: h, config: {{ {columns} }}, limits: {{ cpu_ms: 100000000000 }}");
    let effort = Effort::bounded(9, Instant::now() + Duration::from_secs(60));
    let report = read(&builders, &document([rename, whose, huge].into_iter()), &effort).unwrap_err();
    let told: Vec<String> = report.problems().iter().map(|problem| problem.message.clone()).collect();
    for says in ["`colums`", "`too`", "`maybe`", "`yy`"] {
        assert_eq!(told.iter().filter(|problem| problem.contains(says)).count(), 1, "{says}: {report}");
    }
    assert!(report.to_string().contains("belongs to tenant rival, the pipeline to acme"), "{report}");
    assert_eq!(told.iter().filter(|problem| problem.contains("100000000000")).count(), 1, "{report}");
}

#[test]
fn the_hosts_own_processors_are_checked_in_no_time() {
    let (builders, _dir) = builders();
    let own = (0..5_000).map(|n| format!("type: filter, id: f{n}, tables: {{ include: [shop.orders] }}"));
    let effort = Effort::bounded(0, Instant::now() + Duration::from_secs(60));
    let valid = read(&builders, &document(own), &effort);
    assert_eq!(valid.unwrap_or_else(|report| panic!("{report}")), 5_000);
    assert_eq!((effort.not_run(), effort.is_cut_short()), (0, false));
}
