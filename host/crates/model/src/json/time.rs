//! Dates and times as ISO 8601 text, and back. The Gregorian calendar for all years, as databases have it.

pub(super) const DAY_MICROS: i64 = 86_400_000_000;

/// Year, month and day of a day number; day 0 is 1970-01-01.
///
/// Years are counted from 1 March, so that the leap day ends one; 400 years have 146,097 days.
fn civil(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468; // days since 0000-03-01
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 } as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

/// The day number of a date; `None` when there is no such day.
fn days(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let shifted = year - i64::from(month <= 2);
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = era * 146_097 + day_of_era - 719_468;
    (civil(days) == (year, month, day)).then_some(days)
}

#[inline]
fn two(value: u32, out: &mut Vec<u8>) {
    out.extend_from_slice(&[b'0' + (value / 10) as u8, b'0' + (value % 10) as u8]);
}

pub(super) fn write_date(day: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil(day);
    if (0..=9999).contains(&year) {
        two(year as u32 / 100, out);
        two(year as u32 % 100, out);
    } else {
        out.extend_from_slice(format!("{year:+07}").as_bytes());
    }
    out.push(b'-');
    two(month, out);
    out.push(b'-');
    two(day, out);
}

fn write_fraction(micros: u32, out: &mut Vec<u8>) {
    if micros == 0 {
        return;
    }
    out.push(b'.');
    two(micros / 10_000, out);
    two(micros / 100 % 100, out);
    two(micros % 100, out);
}

fn write_clock(seconds: u32, out: &mut Vec<u8>) {
    two(seconds / 3600, out);
    out.push(b':');
    two(seconds / 60 % 60, out);
    out.push(b':');
    two(seconds % 60, out);
}

/// `2024-01-15T10:30:00` of seconds since the epoch.
pub(super) fn write_seconds(seconds: i64, out: &mut Vec<u8>) {
    write_date(seconds.div_euclid(86_400), out);
    out.push(b'T');
    write_clock(seconds.rem_euclid(86_400) as u32, out);
}

pub(super) fn write_datetime(micros: i64, out: &mut Vec<u8>) {
    write_seconds(micros.div_euclid(1_000_000), out);
    write_fraction(micros.rem_euclid(1_000_000) as u32, out);
}

/// A time of day or an interval: a sign where it is negative, and as many hours as it has.
pub(super) fn write_time(micros: i64, out: &mut Vec<u8>) {
    if micros < 0 {
        out.push(b'-');
    }
    let magnitude = micros.unsigned_abs();
    let (seconds, fraction) = (magnitude / 1_000_000, (magnitude % 1_000_000) as u32);
    let hours = seconds / 3600;
    if hours < 24 {
        write_clock(seconds as u32, out);
    } else {
        out.extend_from_slice(format!("{hours}:").as_bytes());
        two((seconds / 60 % 60) as u32, out);
        out.push(b':');
        two((seconds % 60) as u32, out);
    }
    write_fraction(fraction, out);
}

/// Reads left to right; every part says whether it was there.
struct Scan<'a>(&'a [u8]);

impl Scan<'_> {
    fn eat(&mut self, byte: u8) -> bool {
        let found = self.0.first() == Some(&byte);
        if found {
            self.0 = &self.0[1..];
        }
        found
    }

    /// A number of `least` to `most` digits.
    fn number(&mut self, least: usize, most: usize) -> Option<i64> {
        let len = self.0.iter().take(most).take_while(|byte| byte.is_ascii_digit()).count();
        if len < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(len);
        self.0 = rest;
        Some(digits.iter().fold(0, |value, digit| value * 10 + i64::from(digit - b'0')))
    }

    fn two(&mut self, below: i64) -> Option<i64> {
        self.number(2, 2).filter(|value| *value < below)
    }

    fn date(&mut self) -> Option<i64> {
        let sign = if self.eat(b'+') {
            1
        } else if self.eat(b'-') {
            -1
        } else {
            0
        };
        let year = if sign == 0 { self.number(4, 4)? } else { self.number(6, 9)? * sign };
        let month = self.eat(b'-').then(|| self.two(13))??;
        let day = self.eat(b'-').then(|| self.two(32))??;
        days(year, month as u32, day as u32)
    }

    /// `:MM:SS[.f…]` in microseconds; digits behind the sixth must be zero.
    fn minutes(&mut self) -> Option<i64> {
        let minutes = self.eat(b':').then(|| self.two(60))??;
        let seconds = self.eat(b':').then(|| self.two(60))??;
        let mut micros = (minutes * 60 + seconds) * 1_000_000;
        if self.eat(b'.') {
            let left = self.0.len();
            let value = self.number(1, 6)?;
            micros += value * 10_i64.pow(6 - (left - self.0.len()) as u32);
            while self.eat(b'0') {}
        }
        Some(micros)
    }

    fn datetime(&mut self) -> Option<i64> {
        let days = self.date()?;
        if !self.eat(b'T') && !self.eat(b' ') {
            return None;
        }
        let micros = self.two(24)? * 3_600_000_000 + self.minutes()?;
        i64::try_from(i128::from(days) * i128::from(DAY_MICROS) + i128::from(micros)).ok()
    }

    fn end<T>(&self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

pub(super) fn read_date(text: &str) -> Option<i32> {
    let mut scan = Scan(text.as_bytes());
    let days = i32::try_from(scan.date()?).ok()?;
    scan.end(days)
}

pub(super) fn read_time(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let negative = scan.eat(b'-');
    let hours = scan.number(2, 10)?;
    let micros = i128::from(hours) * 3_600_000_000 + i128::from(scan.minutes()?);
    let micros = i64::try_from(if negative { -micros } else { micros }).ok()?;
    scan.end(micros)
}

pub(super) fn read_datetime(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let micros = scan.datetime()?;
    scan.end(micros)
}

/// A datetime with `Z` or an offset such as `+02:00`.
pub(super) fn read_timestamp(text: &str) -> Option<i64> {
    let mut scan = Scan(text.as_bytes());
    let micros = scan.datetime()?;
    let offset = if scan.eat(b'Z') {
        0
    } else {
        let sign = if scan.eat(b'+') { 1 } else { scan.eat(b'-').then_some(-1)? };
        let hours = scan.two(24)?;
        scan.eat(b':');
        sign * (hours * 60 + scan.two(60)?) * 60_000_000
    };
    scan.end(micros.checked_sub(offset)?)
}
