package native

import (
	"math"
	"math/bits"

	"deltaforge"
)

// scan reads a text from left to right; ok says whether all that was asked for was there.
type scan struct {
	rest string
	ok   bool
}

func (s *scan) eat(c byte) bool {
	if s.rest != "" && s.rest[0] == c {
		s.rest = s.rest[1:]
		return true
	}
	return false
}

func (s *scan) need(c byte) {
	if !s.eat(c) {
		s.ok = false
	}
}

// number is a number of least to most digits.
func (s *scan) number(least, most int) (value int64) {
	count := 0
	for count < most && s.rest != "" && '0' <= s.rest[0] && s.rest[0] <= '9' {
		value = value*10 + int64(s.rest[0]-'0')
		s.rest = s.rest[1:]
		count++
	}
	if count < least {
		s.ok = false
	}
	return value
}

func (s *scan) two(below int64) int64 {
	value := s.number(2, 2)
	if value >= below {
		s.ok = false
	}
	return value
}

func (s *scan) date() int64 {
	var year int64
	switch {
	case s.eat('+'):
		year = s.number(6, 9)
	case s.eat('-'):
		year = -s.number(6, 9)
	default:
		year = s.number(4, 4)
	}
	s.need('-')
	month := s.two(13)
	s.need('-')
	day, exists := deltaforge.DayNumber(year, month, s.two(32))
	if !exists {
		s.ok = false
	}
	return day
}

// minutes are `:MM:SS[.f...]` in microseconds; digits behind the sixth must be zero.
func (s *scan) minutes() int64 {
	s.need(':')
	minutes := s.two(60)
	s.need(':')
	micros := (minutes*60 + s.two(60)) * 1_000_000
	if s.eat('.') {
		before := len(s.rest)
		value := s.number(1, 6)
		for range 6 - (before - len(s.rest)) {
			value *= 10
		}
		micros += value
		for s.eat('0') {
		}
	}
	return micros
}

func (s *scan) datetime() int64 {
	day := s.date()
	if !s.eat('T') {
		s.need(' ')
	}
	micros := s.two(24)*3_600_000_000 + s.minutes()
	const most = math.MaxInt64/86_400_000_000 - 1
	if day > most || day < -most {
		s.ok = false
		return 0
	}
	return day*86_400_000_000 + micros
}

func (s *scan) done() bool { return s.ok && s.rest == "" }

func readDate(text string) (int32, bool) {
	s := scan{text, true}
	day := s.date()
	return int32(day), s.done() && math.MinInt32 <= day && day <= math.MaxInt32
}

func readTime(text string) (int64, bool) {
	s := scan{text, true}
	negative := s.eat('-')
	hours := s.number(2, 10)
	high, low := bits.Mul64(uint64(hours), 3_600_000_000)
	micros := int64(low) + s.minutes()
	if high != 0 || micros < 0 {
		return 0, false
	}
	if negative {
		micros = -micros
	}
	return micros, s.done()
}

func readDatetime(text string) (int64, bool) {
	s := scan{text, true}
	micros := s.datetime()
	return micros, s.done()
}

// readTimestamp reads a datetime with `Z` or an offset such as `+02:00`.
func readTimestamp(text string) (int64, bool) {
	s := scan{text, true}
	micros := s.datetime()
	if s.eat('Z') {
		return micros, s.done()
	}
	sign := int64(1)
	if !s.eat('+') {
		s.need('-')
		sign = -1
	}
	hours := s.two(24)
	s.eat(':')
	return micros - sign*(hours*60+s.two(60))*60_000_000, s.done()
}
