use super::*;

fn at(identity: &str, gtid: &str, file: &str, pos: u64) -> Position {
    let gtid = if gtid.is_empty() { String::new() } else { format!(r#""gtid":"{gtid}","#) };
    Position::new(format!(
        r#"{{"v":1,"kind":"mysql","identity":"{identity}","phase":"log",{gtid}"file":"{file}","pos":{pos}}}"#
    ))
}

const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
const B: &str = "4e11fa47-71ca-11e1-9e33-c80aa9429562";

#[test]
fn positions_with_gtids_are_compared_by_what_they_contain() {
    let set = |set: &str| at("one", set, "binlog.000009", 4);
    let compared = |a: &str, b: &str| compare(&set(a), &set(b));
    assert_eq!(compared(&format!("{A}:1-5"), &format!("{A}:1-7")), Order::Before);
    assert_eq!(compared(&format!("{A}:1-5:7"), &format!("{A}:1-5")), Order::After);
    // A gap is no prefix of what closes it with something else missing.
    assert_eq!(compared(&format!("{A}:1-5:7"), &format!("{A}:1-6")), Order::Unrelated);
    assert_eq!(compared(&format!("{A}:1-5,{B}:1"), &format!("{A}:1-6:tag:1")), Order::Unrelated);
    assert_eq!(compared("mysql", &format!("{A}:1")), Order::Before);
    assert_eq!(compared("0-1-7,1-2-9", "0-1-8,1-2-9"), Order::Before);
    assert_eq!(compared("mariadb", "0-1-8"), Order::Before);
    assert_eq!(compared("0-1-7", &format!("{A}:1-7")), Order::Unrelated);
    // They hold on every server, in whatever file.
    let elsewhere = at("two", &format!("{A}:1-5"), "bin.000001", 999);
    assert_eq!(compare(&set(&format!("{A}:1-5")), &elsewhere), Order::Same);
}

#[test]
fn positions_without_gtids_hold_on_one_server() {
    let place = |file: &str, pos| at("one", "", file, pos);
    assert_eq!(compare(&place("binlog.000009", 900), &place("binlog.000010", 4)), Order::Before);
    assert_eq!(compare(&place("binlog.999999", 900), &place("binlog.1000000", 4)), Order::Before);
    assert_eq!(compare(&place("binlog.000009", 900), &place("binlog.000009", 900)), Order::Same);
    assert_eq!(compare(&place("binlog.000009", 900), &at("two", "", "binlog.000009", 900)), Order::Unrelated);
}

#[test]
fn positions_are_read_back_as_they_were_written() {
    for gtid in ["", "mysql", "mariadb", &format!("{A}:1-5:tag:3"), "0-1-7,0-2-6"] {
        let position = at("one", gtid, "binlog.000009", 4);
        let parsed = At::parse(&position).unwrap();
        assert_eq!(At::parse(&parsed.position()).unwrap(), parsed);
        assert_eq!(parsed.place.gtid.is_none(), gtid.is_empty());
    }
    let open = Place {
        gtid: Gtids::MySql(format!("{A}:1-4").parse().unwrap()),
        file: "b.1".into(),
        pos: 9,
        begun: 0,
    };
    let held =
        At { open: Some(open.clone()), ..At::parse(&at("one", &format!("{A}:1-5"), "b.1", 90)).unwrap() };
    let read = At::parse(&held.position()).unwrap();
    assert_eq!((&read, read.start()), (&held, &open));
    for bad in ["{}", "7", r#"{"v":2,"kind":"mysql","identity":"","phase":"log","file":"","pos":1}"#] {
        assert!(matches!(At::parse(&Position::new(bad)), Err(MysqlError::BadPosition(_))));
    }
    let foreign = r#"{"v":2,"kind":"mysql","file":"b.1","jobs":[{"after":[{"text":"somebody"}]}]}"#;
    let told = At::parse(&Position::new(foreign)).unwrap_err().to_string();
    assert!(told.contains("file: b.1") && !told.contains("somebody"), "{told}");
}

#[test]
fn a_place_has_transactions_that_came_before_it() {
    let place = |gtid: &str| At::parse(&at("one", gtid, "binlog.000009", 900)).unwrap().place;
    let name = |text: &str, of: &Place| Name::parse(text, &of.gtid).unwrap();
    let mysql = place(&format!("{A}:1-5:tag:3"));
    for (gtid, has) in [
        (format!("{A}:5"), true),
        (format!("{A}:6"), false),
        (format!("{A}:tag:3"), true),
        (format!("{B}:1"), false),
    ] {
        assert_eq!(mysql.has(&name(&gtid, &mysql)), has, "{gtid}");
        assert_eq!(name(&gtid, &mysql).to_string(), gtid);
    }
    let maria = place("0-1-7,1-1-3");
    for (gtid, has) in [("0-1-7", true), ("0-1-8", false), ("1-1-3", true), ("2-1-1", false)] {
        assert_eq!(maria.has(&name(gtid, &maria)), has, "{gtid}");
    }
    let file = place("");
    for (at, has) in [("binlog.000009:899", true), ("binlog.000009:900", false), ("binlog.000008:990", true)]
    {
        assert_eq!(file.has(&name(at, &file)), has, "{at}");
    }
}

/// On another server what a position has may come behind what it lacks.
#[test]
fn whether_a_position_has_a_transaction_is_told_by_its_gtid_alone() {
    let told = |set: &str, transaction: &str| has(&at("one", set, "binlog.000009", 900), transaction);
    assert_eq!(told(&format!("{A}:1-6"), &format!("{A}:6")), Some(true));
    assert_eq!(told(&format!("{A}:1-6"), &format!("{A}:7")), Some(false));
    assert_eq!(told("mysql", &format!("{A}:7")), Some(false));
    assert_eq!(told("0-1-7,1-1-3", "1-1-3"), Some(true));
    assert_eq!(told("0-1-7,1-1-3", "2-1-1"), Some(false));
    assert_eq!(told("", "binlog.000009:899"), None);
    assert_eq!(told(&format!("{A}:1-6"), "binlog.000009:899"), None);
}

#[test]
fn files_of_one_server_mean_nothing_on_another() {
    let here = At::parse(&at("one", &format!("{A}:1-5"), "binlog.000900", 900)).unwrap();
    assert_eq!(here.clone().moved_to(&Server::known_by("one")), here);
    let there = here.clone().moved_to(&Server::known_by("two"));
    assert_eq!(there.place.gtid, here.place.gtid);
    // A mark in the other one's files is not reached by a number from the first.
    assert!(here.place.is_behind("binlog.000003", 4) && !there.place.is_behind("binlog.000003", 4));
}
