package deltaforge

import (
	"fmt"
	"strconv"
)

const dayMicros = 86_400_000_000

// floorDiv and floorMod round down, where Go rounds to zero.
func floorDiv(a, b int64) int64 {
	if a%b < 0 {
		return a/b - 1
	}
	return a / b
}

func floorMod(a, b int64) int64 { return a - floorDiv(a, b)*b }

// civil is the year, month and day of a day number in the Gregorian calendar for all years; day 0 is 1970-01-01. Years
// are counted from March, so that the leap day ends one; 400 of them have 146,097 days.
func civil(day int64) (year, month, dayOfMonth int64) {
	shifted := day + 719_468 // since 0000-03-01
	era, of := floorDiv(shifted, 146_097), floorMod(shifted, 146_097)
	years := (of - of/1_460 + of/36_524 - of/146_096) / 365
	ofYear := of - (365*years + years/4 - years/100)
	march := (5*ofYear + 2) / 153
	year, month, dayOfMonth = era*400+years, march+3, ofYear-(153*march+2)/5+1
	if month > 12 {
		year, month = year+1, month-12
	}
	return year, month, dayOfMonth
}

// DayNumber is the number of a day in the Gregorian calendar, counted from 1970-01-01; false: there is no such day.
func DayNumber(year, month, day int64) (number int64, exists bool) {
	if month < 1 || month > 12 || day < 1 || day > 31 {
		return 0, false
	}
	shifted := year
	if month <= 2 {
		shifted--
	}
	era, years := floorDiv(shifted, 400), floorMod(shifted, 400)
	ofYear := (153*((month+9)%12)+2)/5 + day - 1
	number = era*146_097 + years*365 + years/4 - years/100 + ofYear - 719_468
	y, m, d := civil(number)
	return number, y == year && m == month && d == day
}

func appendDate(out []byte, day int64) []byte {
	year, month, of := civil(day)
	if 0 <= year && year <= 9999 {
		return fmt.Appendf(out, "%04d-%02d-%02d", year, month, of)
	}
	return fmt.Appendf(out, "%+07d-%02d-%02d", year, month, of)
}

func appendFraction(out []byte, micros int64) []byte {
	if micros == 0 {
		return out
	}
	return fmt.Appendf(out, ".%06d", micros)
}

// appendClock appends a time of day or an interval: a sign where it is negative, and as many hours as it has.
func appendClock(out []byte, micros int64) []byte {
	magnitude := uint64(micros)
	if micros < 0 {
		out, magnitude = append(out, '-'), -magnitude
	}
	seconds := magnitude / 1_000_000
	if hours := seconds / 3600; hours < 10 {
		out = append(out, '0', byte('0'+hours))
	} else {
		out = strconv.AppendUint(out, hours, 10)
	}
	out = fmt.Appendf(out, ":%02d:%02d", seconds/60%60, seconds%60)
	return appendFraction(out, int64(magnitude%1_000_000))
}

// appendMoment appends `2024-01-15T10:30:00`, with a fraction where there is one.
func appendMoment(out []byte, micros int64) []byte {
	out = append(appendDate(out, floorDiv(micros, dayMicros)), 'T')
	return appendClock(out, floorMod(micros, dayMicros))
}
