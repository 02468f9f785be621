//! Dates and times as SQLite's own functions write them.

use deltaforge_model::Cell;

const DAY_US: i64 = 86_400_000_000;

/// Exactly `YYYY-MM-DD`, as days since 1970-01-01.
pub(super) fn date(text: &str) -> Option<i32> {
    let bytes = text.as_bytes();
    let [_, _, _, _, b'-', _, _, b'-', _, _] = bytes else { return None };
    let (year, month, day) = (number(&bytes[..4])?, number(&bytes[5..7])?, number(&bytes[8..])?);
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let days_in_month = match month {
        4 | 6 | 9 | 11 => 30,
        2 => 28 + i64::from(leap),
        1..=12 => 31,
        _ => return None,
    };
    if !(1..=days_in_month).contains(&day) {
        return None;
    }
    // Days from civil, with years that begin in March.
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some((era * 146_097 + day_of_era - 719_468) as i32)
}

/// `HH:MM`, `HH:MM:SS` or `HH:MM:SS.f` with at most six digits, as microseconds.
pub(super) fn time(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 5 || bytes[2] != b':' {
        return None;
    }
    let (hours, minutes) = (number(&bytes[..2])?, number(&bytes[3..5])?);
    let (seconds, fraction) = match &bytes[5..] {
        [] => (0, 0),
        [b':', a, b] => (number(&[*a, *b])?, 0),
        [b':', a, b, b'.', fraction @ ..] if (1..=6).contains(&fraction.len()) => {
            (number(&[*a, *b])?, number(fraction)? * 10_i64.pow(6 - fraction.len() as u32))
        }
        _ => return None,
    };
    (hours < 24 && minutes < 60 && seconds < 60)
        .then_some(((hours * 60 + minutes) * 60 + seconds) * 1_000_000 + fraction)
}

/// A date and a time with a blank or `T` between; with `Z` or `±HH:MM` behind it, a moment in UTC.
pub(super) fn date_time(text: &str) -> Option<Cell<'static>> {
    let (day, rest) = text.split_at_checked(10)?;
    let days = i64::from(date(day)?);
    let rest = rest.strip_prefix([' ', 'T'])?;
    if let Some(clock) = rest.strip_suffix('Z') {
        return Some(Cell::Timestamp(days * DAY_US + time(clock)?));
    }
    if let Some(at) = rest.rfind(['+', '-']) {
        let (clock, zone) = rest.split_at(at);
        let sign = if zone.starts_with('-') { -1 } else { 1 };
        let zone = &zone[1..];
        if zone.len() != 5 {
            return None;
        }
        return Some(Cell::Timestamp(days * DAY_US + time(clock)? - sign * time(zone)?));
    }
    Some(Cell::DateTime(days * DAY_US + time(rest)?))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits
        .iter()
        .try_fold(0, |sum: i64, digit| digit.is_ascii_digit().then(|| sum * 10 + i64::from(digit - b'0')))
}
