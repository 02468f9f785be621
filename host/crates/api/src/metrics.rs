//! What is measured, as far as a caller may see it.

use std::collections::HashSet;

/// The samples that belong to a tenant: those with its `tenant` label or one of its pipelines' `pipeline` label, and no
/// label of another's. What belongs to the host, or to nobody, is left out.
pub(crate) fn of_tenant(text: &str, tenant: &str, pipelines: &HashSet<String>) -> String {
    let mut kept = String::new();
    // What describes a family stands before its samples.
    let mut about = Vec::new();
    for line in text.lines() {
        if line.starts_with('#') || line.is_empty() {
            if line.starts_with("# HELP")
                || (line.starts_with("# TYPE") && !matches!(about[..], [help] if is_help(help)))
            {
                about.clear();
            }
            about.push(line);
            continue;
        }
        let mut is_theirs = false;
        let mut is_others = false;
        for (name, value) in labels(line) {
            let own = match name {
                "tenant" => value == tenant,
                "pipeline" => pipelines.contains(&value),
                _ => continue,
            };
            is_theirs |= own;
            is_others |= !own;
        }
        if is_theirs && !is_others {
            for line in about.drain(..).chain([line]) {
                kept.push_str(line);
                kept.push('\n');
            }
        }
    }
    kept
}

fn is_help(line: &str) -> bool {
    line.starts_with("# HELP")
}

/// The labels of a sample, `name{label="value",…} 1`, with `\\`, `\"` and `\n` read.
fn labels(line: &str) -> Vec<(&str, String)> {
    let mut found = Vec::new();
    let Some((_, mut rest)) = line.split_once('{') else { return found };
    while let Some((name, after)) = rest.split_once("=\"") {
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next() {
                Some((at, '"')) => break at + 1,
                Some((_, '\\')) => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, other)) => value.push(other),
                    None => return found,
                },
                Some((_, other)) => value.push(other),
                // What has no end is no sample.
                None => return found,
            }
        };
        found.push((name.trim_matches([',', ' ']), value));
        rest = &after[end..];
        if rest.starts_with('}') {
            break;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "# HELP events_total Events.
# TYPE events_total counter
events_total{pipeline=\"orders\",table=\"a\"} 1
events_total{pipeline=\"secret\",table=\"b\"} 2
# TYPE info gauge
info{pipeline=\"orders\",tenant=\"acme\"} 1
info{pipeline=\"secret\",tenant=\"other\"} 1

# TYPE build_info gauge
build_info{version=\"1\"} 1
# TYPE up gauge
up 1
# TYPE sly counter
sly{table=\"pipeline=\\\"orders\\\",tenant=\\\"acme\\\"\",pipeline=\"secret\"} 3
sly{tenant=\"acme\",pipeline=\"secret\"} 4
";

    #[test]
    fn a_tenant_sees_the_samples_of_its_pipelines_and_no_others() {
        let own = HashSet::from(["orders".to_owned()]);
        assert_eq!(
            of_tenant(TEXT, "acme", &own),
            "# HELP events_total Events.
# TYPE events_total counter
events_total{pipeline=\"orders\",table=\"a\"} 1
# TYPE info gauge
info{pipeline=\"orders\",tenant=\"acme\"} 1
"
        );
        assert_eq!(of_tenant(TEXT, "nobody", &HashSet::new()), "");
    }
}
