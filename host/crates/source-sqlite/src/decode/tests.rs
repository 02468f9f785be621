use super::*;

#[test]
fn texts_become_times_only_when_nothing_is_lost() {
    let cell = |form, text| text_cell(form, text);
    assert_eq!(cell(Form::Date, "1970-01-02"), Cell::Date(1));
    assert_eq!(cell(Form::Date, "2000-02-29"), Cell::Date(11_016));
    assert_eq!(cell(Form::Date, "1969-12-31"), Cell::Date(-1));
    assert_eq!(cell(Form::Date, "2023-02-29"), Cell::Text("2023-02-29"));
    assert_eq!(cell(Form::Date, "0000-00-00"), Cell::Text("0000-00-00"));
    assert_eq!(cell(Form::Time, "01:00"), Cell::Time(3_600_000_000));
    assert_eq!(cell(Form::Time, "00:00:01.5"), Cell::Time(1_500_000));
    assert_eq!(cell(Form::Time, "00:00:01.1234567"), Cell::Text("00:00:01.1234567"));
    assert_eq!(cell(Form::DateTime, "1970-01-01 00:00:01"), Cell::DateTime(1_000_000));
    assert_eq!(cell(Form::DateTime, "1970-01-01T00:00:01Z"), Cell::Timestamp(1_000_000));
    assert_eq!(cell(Form::DateTime, "1970-01-01T02:00+02:00"), Cell::Timestamp(0));
    assert_eq!(cell(Form::DateTime, "now"), Cell::Text("now"));
    assert_eq!(cell(Form::DateTime, "1970-01-01é1"), Cell::Text("1970-01-01é1"));
}

#[test]
fn decimals_are_exact_text() {
    let mut scratch = String::new();
    assert_eq!(decimal(ValueRef::Real(12.5), &mut scratch), Cell::Decimal("12.5"));
    assert_eq!(decimal(ValueRef::Real(1e-7), &mut scratch), Cell::Decimal("0.0000001"));
    assert_eq!(decimal(ValueRef::Integer(-3), &mut scratch), Cell::Decimal("-3"));
    assert_eq!(decimal(ValueRef::Real(1e300), &mut scratch), Cell::Float64(1e300));
    assert_eq!(text_cell(Form::Decimal, "-1.20"), Cell::Decimal("-1.20"));
    assert_eq!(text_cell(Form::Decimal, "1."), Cell::Text("1."));
}

#[test]
fn declared_types_follow_affinity_and_common_names() {
    let of = |declared| declared_kind(declared, false);
    assert_eq!(of("UNSIGNED BIG INT"), Kind::Of(CellKind::Int));
    assert_eq!(of("varchar(30)"), Kind::Of(CellKind::Text));
    assert_eq!(of("DOUBLE PRECISION"), Kind::Of(CellKind::Float64));
    assert_eq!(of("decimal(10, 2)"), Kind::Of(CellKind::Decimal));
    assert_eq!(of("Timestamp with time zone"), Kind::Of(CellKind::Timestamp));
    assert_eq!(of(""), Kind::Any);
    assert_eq!(declared_kind("DATETIME", true), Kind::Any);
}
