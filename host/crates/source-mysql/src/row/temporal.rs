//! Dates and times.
//!
//! Values that are no calendar's (zero dates, days beyond a month's end) have no number of days since 1970: they stay
//! text, written as the server prints them.

use std::fmt::Write;

use deltaforge_model::{Cell, RowWriter};

use crate::bytes::{Bytes, big_endian};
use crate::error::DecodeError;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;

/// A date and a time of day as their parts; any of them may be out of its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Parts {
    pub year: u32,
    pub month: u32,
    pub day: u32,
    pub hour: u32,
    pub minute: u32,
    pub second: u32,
    pub micros: u32,
}

impl Parts {
    /// Days since 1970-01-01; `None` when no calendar has the day.
    fn days(&self) -> Option<i32> {
        const MONTHS: [u32; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (year, month, day) = (self.year, self.month, self.day);
        let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
        let last = MONTHS.get((month as usize).checked_sub(1)?)? + u32::from(leap && month == 2);
        if !(1..=last).contains(&day) || year > 9999 {
            return None;
        }
        // Counted from 1 March of the year 0, so that the leap day ends a year.
        let years = i64::from(year) - i64::from(month <= 2);
        let era = years.div_euclid(400);
        let of_era = years.rem_euclid(400);
        let of_year = (153 * i64::from((month + 9) % 12) + 2) / 5 + i64::from(day) - 1;
        let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468;
        i32::try_from(days).ok()
    }

    /// Microseconds since 1970-01-01; `None` when no calendar and clock have it.
    fn micros(&self) -> Option<i64> {
        let clock = self.hour <= 23 && self.minute <= 59 && self.second <= 59 && self.micros < 1_000_000;
        let days = self.days().filter(|_| clock)?;
        let seconds = i64::from(self.hour * 3600 + self.minute * 60 + self.second);
        Some(i64::from(days) * DAY + seconds * SECOND + i64::from(self.micros))
    }

    pub fn write_date(&self, out: &mut String) {
        let _ = write!(out, "{:04}-{:02}-{:02}", self.year, self.month, self.day);
    }

    /// A DATE.
    pub fn push_date(&self, row: &mut RowWriter<'_>, text: &mut String) {
        match self.days() {
            Some(days) => row.push(&Cell::Date(days)),
            None => {
                text.clear();
                self.write_date(text);
                row.push(&Cell::Text(text))
            }
        };
    }

    /// A DATETIME.
    pub fn push_datetime(&self, digits: u8, row: &mut RowWriter<'_>, text: &mut String) {
        match self.micros() {
            Some(micros) => row.push(&Cell::DateTime(micros)),
            None => self.push_text(digits, row, text),
        };
    }

    /// A TIMESTAMP, in UTC.
    pub fn push_timestamp(&self, digits: u8, row: &mut RowWriter<'_>, text: &mut String) {
        match self.micros() {
            Some(micros) => row.push(&Cell::Timestamp(micros)),
            None => self.push_text(digits, row, text),
        };
    }

    fn push_text<'r, 'w>(
        &self,
        digits: u8,
        row: &'r mut RowWriter<'w>,
        text: &mut String,
    ) -> &'r mut RowWriter<'w> {
        text.clear();
        self.write_datetime(digits, text);
        row.push(&Cell::Text(text))
    }

    /// With so many digits of the second's fraction.
    pub fn write_datetime(&self, digits: u8, out: &mut String) {
        self.write_date(out);
        let _ = write!(out, " {:02}:{:02}:{:02}", self.hour, self.minute, self.second);
        write_fraction(self.micros, digits, out);
    }
}

pub(super) fn write_fraction(micros: u32, digits: u8, out: &mut String) {
    if digits > 0 {
        let mut micros = micros;
        for _ in digits..6 {
            micros /= 10;
        }
        let _ = write!(out, ".{micros:0width$}", width = usize::from(digits));
    }
}

/// Microseconds from as many bytes as `digits` take.
fn fraction(bytes: &mut Bytes<'_>, digits: u8, what: &'static str) -> Result<u32, DecodeError> {
    let value = big_endian(bytes.take(usize::from(digits.div_ceil(2)), what)?) as u32;
    Ok(value * [1, 10_000, 10_000, 100, 100, 1, 1][usize::from(digits.min(6))])
}

pub(super) fn date(
    bytes: &mut Bytes<'_>,
    row: &mut RowWriter<'_>,
    text: &mut String,
) -> Result<(), DecodeError> {
    let packed = bytes.uint(3, "a DATE")? as u32;
    let parts = Parts { day: packed & 31, month: packed >> 5 & 15, year: packed >> 9, ..Parts::default() };
    parts.push_date(row, text);
    Ok(())
}

/// Five bytes, the highest bit a sign that is always set: 17 bits of year times 13 plus month, 5 of day, 5 of hour, 6
/// of minute and 6 of second.
pub(super) fn datetime2(
    bytes: &mut Bytes<'_>,
    digits: u8,
    row: &mut RowWriter<'_>,
    text: &mut String,
) -> Result<(), DecodeError> {
    const WHAT: &str = "a DATETIME";
    let packed = big_endian(&bytes.array::<5>(WHAT)?) & 0x7f_ffff_ffff;
    let mut parts = unpack(packed);
    parts.micros = fraction(bytes, digits, WHAT)?;
    parts.push_datetime(digits, row, text);
    Ok(())
}

/// 17 bits of year and month, 5 of day, 17 of the time of day.
pub(super) fn unpack(packed: u64) -> Parts {
    let low = |shift: u32, bits: u32| (packed >> shift) as u32 & ((1 << bits) - 1);
    let months = (packed >> 22) as u32;
    Parts {
        year: months / 13,
        month: months % 13,
        day: low(17, 5),
        hour: low(12, 5),
        minute: low(6, 6),
        second: low(0, 6),
        micros: 0,
    }
}

/// Before MySQL 5.6: the digits of `YYYYMMDDhhmmss` as a number.
pub(super) fn old_datetime(
    bytes: &mut Bytes<'_>,
    row: &mut RowWriter<'_>,
    text: &mut String,
) -> Result<(), DecodeError> {
    let packed = bytes.u64("a DATETIME")?;
    let (date, clock) = (packed / 1_000_000, (packed % 1_000_000) as u32);
    let parts = Parts {
        year: u32::try_from(date / 10_000).unwrap_or(u32::MAX),
        month: (date / 100 % 100) as u32,
        day: (date % 100) as u32,
        hour: clock / 10_000,
        minute: clock / 100 % 100,
        second: clock % 100,
        micros: 0,
    };
    parts.push_datetime(0, row, text);
    Ok(())
}

/// Seconds since 1970 UTC; 0 is the zero date.
pub(super) fn timestamp(
    bytes: &mut Bytes<'_>,
    digits: Option<u8>,
    row: &mut RowWriter<'_>,
    text: &mut String,
) -> Result<(), DecodeError> {
    const WHAT: &str = "a TIMESTAMP";
    let (seconds, micros) = match digits {
        // Before MySQL 5.6: the lowest byte first, and no fraction.
        None => (bytes.u32(WHAT)?, 0),
        Some(digits) => (u32::from_be_bytes(bytes.array(WHAT)?), fraction(bytes, digits, WHAT)?),
    };
    if seconds == 0 {
        Parts { micros, ..Parts::default() }.push_timestamp(digits.unwrap_or(0), row, text);
    } else {
        row.push(&Cell::Timestamp(i64::from(seconds) * SECOND + i64::from(micros)));
    }
    Ok(())
}

/// Three bytes above 2^23: a bit unused, 10 of hours, 6 of minutes, 6 of seconds; then the fraction. A negative time is the
/// negative of the whole, fraction included.
pub(super) fn time2(bytes: &mut Bytes<'_>, digits: u8, row: &mut RowWriter<'_>) -> Result<(), DecodeError> {
    const WHAT: &str = "a TIME";
    let width = usize::from(digits.div_ceil(2));
    let bits = 8 * width as u32;
    let whole = bytes.take(3 + width, WHAT)?;
    let value = big_endian(whole) as i64 - (0x80_0000i64 << bits);
    let size = value.unsigned_abs();
    let clock = (size >> bits) as u32;
    let unit: u64 = [1, 10_000, 10_000, 100, 100, 1, 1][usize::from(digits.min(6))];
    let micros = (size & ((1 << bits) - 1)) * unit;
    let seconds = i64::from((clock >> 12 & 0x3ff) * 3600 + (clock >> 6 & 63) * 60 + (clock & 63));
    let total = seconds * SECOND + micros as i64;
    row.push(&Cell::Time(if value < 0 { -total } else { total }));
    Ok(())
}

/// Before MySQL 5.6: the digits of `hhhmmss` as a signed number.
pub(super) fn old_time(bytes: &mut Bytes<'_>, row: &mut RowWriter<'_>) -> Result<(), DecodeError> {
    let packed = bytes.uint(3, "a TIME")? as i32;
    let packed = packed << 8 >> 8;
    let size = packed.unsigned_abs();
    let seconds = i64::from(size / 10_000 * 3600 + size / 100 % 100 * 60 + size % 100);
    row.push(&Cell::Time(seconds * SECOND * i64::from(packed.signum())));
    Ok(())
}
