use super::*;

fn refused(text: &str) -> String {
    Template::parse(text).expect_err(text).to_string()
}

#[test]
fn what_an_event_may_have_is_taken() {
    for text in [
        "",
        "plain",
        "${op}/${ts_ms}/${event_id}/${tenant_id}",
        "${source.table}.${source.db}.${source.schema}.${source.snapshot}",
        "${source.sequence}${source.lsn}", // positions have the connector's own names
        "${transaction.id}",
        "${before.id}-${after.aftr}-${after.address.city}",
        "${HOST}", // not put in where a document is only checked
    ] {
        Template::parse(text).expect(text);
    }
}

#[test]
fn what_no_event_has_is_refused_with_what_was_meant() {
    for (text, meant) in [
        ("x/${aftr.id}", "did you mean ${after.id}?"),
        ("${After.address.city}", "did you mean ${after.address.city}?"),
        ("${ after.id }", "did you mean ${after.id}?"),
        ("${source.tabel}", "did you mean ${source.table}?"),
        ("${sorce.table}", "did you mean ${source.table}?"),
        ("${table}", "did you mean ${source.table}?"),
        ("${transaction}", "did you mean ${transaction.id}?"),
        ("${op.code}", "did you mean ${op}?"),
        ("${after}", "a template may name ${after.COLUMN}"),
        ("${customer.id}", "a template may name ${after.COLUMN}"),
    ] {
        let message = refused(text);
        assert!(message.contains("which no event has") && message.contains(meant), "{text}: {message}");
    }
    assert!(refused("${after.id").contains("without }"));
    assert!(refused("${a.b.c.d}").contains("one to three names"));
    assert!(refused("${}").contains("one to three names"));
}
