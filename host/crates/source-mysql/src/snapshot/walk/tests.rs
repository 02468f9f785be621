use super::*;
use crate::ddl::{Body, Change, Context, Mode, Server, Statement, read};

fn walk(sql: &str) -> Walk {
    let context = Context { server: Server::MySql, database: "d", mode: Mode::default(), fold_names: false };
    let Statement::Changes(mut changes) = read(sql, &context) else { panic!("{sql}") };
    let Change::Create { table, body: Body::Definition(mut definition), .. } = changes.remove(0) else {
        panic!()
    };
    definition.resolve(Some("utf8mb4"));
    Walk::of(&table, &definition)
}

#[test]
fn a_walk_goes_on_behind_a_row() {
    let walk =
        walk("CREATE TABLE `t``x` (v text, a int, b varchar(9) CHARACTER SET latin1, PRIMARY KEY (b, a))");
    let list = "SELECT `v`, `a`, `b` FROM `d`.`t``x`";
    assert_eq!(walk.select(&Range::default(), 9), format!("{list} ORDER BY `b`, `a` LIMIT 9"));
    let after = vec![Mark::Text("6127".into()), Mark::Number("-7".into())];
    let until = vec![Mark::Text(String::new()), Mark::Number("1' OR 1".into())];
    assert_eq!(
        walk.select(&Range { after, until }, 9),
        format!(
            "{list} WHERE `b` >= _latin1 0x6127 AND (`b` > _latin1 0x6127 OR (`b` = _latin1 0x6127 AND `a` > -7)) AND \
             `b` <= _latin1 '' AND (`b` < _latin1 '' OR (`b` = _latin1 '' AND `a` <= 1OR1)) ORDER BY `b`, `a` LIMIT 9"
        )
    );
}

#[test]
fn a_walk_over_some_rows_has_their_condition_beside_its_bounds() {
    let some =
        || walk("CREATE TABLE t (id int PRIMARY KEY, v int)").of_rows(Some("`v` = 1 OR `v` = 2".into()));
    assert!(some().is_of_some());
    assert_eq!(
        some().select(&Range::default(), 2),
        "SELECT `id`, `v` FROM `d`.`t` WHERE (`v` = 1 OR `v` = 2) ORDER BY `id` LIMIT 2"
    );
    let after = vec![Mark::Number("3".into())];
    let range = Range { after, until: vec![Mark::Number("9".into())] };
    assert_eq!(
        some().select(&range, 2),
        "SELECT `id`, `v` FROM `d`.`t` WHERE `id` > 3 AND `id` <= 9 AND (`v` = 1 OR `v` = 2) ORDER BY `id` LIMIT 2"
    );
    assert_eq!(
        some().keys(&range),
        "SELECT `id` FROM `d`.`t` WHERE `id` > 3 AND `id` <= 9 ORDER BY `id` LIMIT 1"
    );
}

#[test]
fn a_condition_holds_for_rows_that_a_table_had_too() {
    let some = walk("CREATE TABLE t (id int PRIMARY KEY, v int) WITH SYSTEM VERSIONING")
        .of_rows(Some("`v` = 1".into()));
    let range = Range::default();
    let sql = some.select(&range, 2);
    assert!(sql.contains("FROM `d`.`t` FOR SYSTEM_TIME ALL WHERE (`v` = 1) ORDER BY `id`"), "{sql}");
    let sql = some.keys(&range);
    assert!(sql.contains("FROM `d`.`t` FOR SYSTEM_TIME ALL ORDER BY `id`"), "{sql}");
}

#[test]
fn marks_are_shown_as_they_are_read() {
    let shown = [
        Mark::Number("-7".into()),
        Mark::Text("6127".into()),
        Mark::Text("ff".into()),
        Mark::Bytes("61".into()),
    ];
    assert_eq!(shown.map(|mark| mark.shown()), ["-7", "a'", "0xff", "0x61"]);
}

#[test]
fn labels_are_walked_by_their_numbers_and_keyless_tables_in_one_go() {
    let labels = walk("CREATE TABLE t (e enum('b','a') PRIMARY KEY, x int)");
    let after = vec![Mark::Number("1".into())];
    assert_eq!(
        labels.select(&Range { after, until: Vec::new() }, 2),
        "SELECT `e`, `x`, `e`+0 FROM `d`.`t` WHERE `e` > 1 ORDER BY `e` LIMIT 2"
    );
    let keyless = walk("CREATE TABLE t (a int, UNIQUE (a))");
    assert!(!keyless.has_key());
    assert_eq!(keyless.select(&Range::default(), 2), "SELECT `a` FROM `d`.`t`");
}
