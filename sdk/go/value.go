package deltaforge

import (
	"encoding/binary"
	"math"
)

// Kind is the kind of a value, or the declared kind of a column. There may be others in time than the ones named here.
type Kind string

// The kinds of values and columns.
const (
	KindBool    Kind = "bool"
	KindInt     Kind = "int"
	KindUint    Kind = "uint"
	KindFloat32 Kind = "float32"
	KindFloat64 Kind = "float64"
	// KindDecimal is exact decimal text; also `NaN` and `Infinity`.
	KindDecimal Kind = "decimal"
	KindText    Kind = "text"
	KindBytes   Kind = "bytes"
	// KindDate counts days since 1970-01-01.
	KindDate Kind = "date"
	// KindTime counts microseconds; it may be negative or beyond a day.
	KindTime Kind = "time"
	// KindDatetime counts microseconds since 1970-01-01 00:00, no zone known.
	KindDatetime Kind = "datetime"
	// KindTimestamp counts microseconds since 1970-01-01T00:00Z.
	KindTimestamp Kind = "timestamp"
	KindJSON      Kind = "json"
	KindUUID      Kind = "uuid"
	// KindEnum is the label of an ENUM.
	KindEnum Kind = "enum"
	// KindSet is the labels of a SET, comma-separated.
	KindSet   Kind = "set"
	KindArray Kind = "array"
	// KindAny: no type is declared (SQLite allows that).
	KindAny Kind = "any"
)

// Kinds of what is no value; no column is declared as one.
const (
	// KindAbsent: the row has no such column.
	KindAbsent Kind = "absent"
	// KindNull: SQL NULL.
	KindNull Kind = "null"
	// KindUnavailable: the source did not log the value.
	KindUnavailable Kind = "unavailable"
)

// The kinds by the numbers that arrays use.
var kinds = [...]Kind{
	KindAbsent, KindNull, KindUnavailable, KindBool, KindInt, KindUint, KindFloat32, KindFloat64, KindDecimal, KindText,
	KindBytes, KindDate, KindTime, KindDatetime, KindTimestamp, KindJSON, KindUUID, KindEnum, KindSet, KindArray,
}

const (
	absent = iota
	null
	unavailable
	boolean
	signed
	unsigned
	single
	double
	decimal
	text
	blob
	date
	clock
	datetime
	timestamp
	document
	uuid
	label
	labels
	array
)

// Value is one cell, exactly as the source gave it. The zero value is absent.
type Value struct {
	kind uint8
	// A number, a boolean or the bits of a float.
	bits uint64
	// Text or bytes.
	str string
}

// Absent: the row has no such column. In an edit: leave the cell as it is.
func Absent() Value { return Value{} }

// Null is SQL NULL.
func Null() Value { return Value{kind: null} }

// Unavailable: the source did not log the value (unchanged TOAST, partial row image); it is not NULL. In an edit: leave
// the cell as it is.
func Unavailable() Value { return Value{kind: unavailable} }

// Bool is a boolean.
func Bool(v bool) Value {
	if v {
		return Value{kind: boolean, bits: 1}
	}
	return Value{kind: boolean}
}

// Int is a signed integer.
func Int(v int64) Value { return Value{kind: signed, bits: uint64(v)} }

// Uint is an unsigned integer.
func Uint(v uint64) Value { return Value{kind: unsigned, bits: v} }

// Float32 is a single-precision float.
func Float32(v float32) Value { return Value{kind: single, bits: uint64(math.Float32bits(v))} }

// Float64 is a double-precision float.
func Float64(v float64) Value { return Value{kind: double, bits: math.Float64bits(v)} }

// Decimal is an exact decimal as text; also `NaN` and `Infinity`.
func Decimal(v string) Value { return Value{kind: decimal, str: v} }

// Text is a text.
func Text(v string) Value { return Value{kind: text, str: v} }

// Bytes are bytes; they are copied.
func Bytes(v []byte) Value { return Value{kind: blob, str: string(v)} }

// Date is a day, counted from 1970-01-01.
func Date(days int32) Value { return Value{kind: date, bits: uint64(int64(days))} }

// Time is a time of day or an interval in microseconds.
func Time(micros int64) Value { return Value{kind: clock, bits: uint64(micros)} }

// Datetime is microseconds since 1970-01-01 00:00, no zone known.
func Datetime(micros int64) Value { return Value{kind: datetime, bits: uint64(micros)} }

// Timestamp is microseconds since 1970-01-01T00:00Z.
func Timestamp(micros int64) Value { return Value{kind: timestamp, bits: uint64(micros)} }

// JSON is a JSON document as text.
func JSON(v string) Value { return Value{kind: document, str: v} }

// UUID is a UUID.
func UUID(v [16]byte) Value { return Value{kind: uuid, str: string(v[:])} }

// Enum is the label of an ENUM.
func Enum(v string) Value { return Value{kind: label, str: v} }

// Set is the labels of a SET, comma-separated.
func Set(v string) Value { return Value{kind: labels, str: v} }

// Array is an array of values. [Absent] becomes [Null]: an array has no holes.
func Array(elements ...Value) Value {
	var out []byte
	for _, element := range elements {
		kind := element.kind
		if kind == absent {
			kind = null
		}
		out = append(out, kind, 0, 0, 0, 0)
		start := len(out)
		out = element.appendBytes(out)
		binary.LittleEndian.PutUint32(out[start-4:], uint32(len(out)-start))
	}
	return Value{kind: array, str: string(out)}
}

// EncodedArray is an array whose elements are encoded already, as the interface has it.
func EncodedArray(encoded string) Value { return Value{kind: array, str: encoded} }

// Raw takes a value apart for hosts: the number of its case in the interface, the bits of a number, text or bytes.
func (v Value) Raw() (number uint8, bits uint64, bytes string) { return v.kind, v.bits, v.str }

// FromRaw is a value of what [Value.Raw] answers, for hosts.
func FromRaw(number uint8, bits uint64, bytes string) Value {
	if int(number) >= len(kinds) {
		return Value{}
	}
	return Value{number, bits, bytes}
}

// Kind is the value's kind.
func (v Value) Kind() Kind { return kinds[v.kind] }

// IsNothing: it is NULL, absent or unavailable, so there is nothing to look at.
func (v Value) IsNothing() bool { return v.kind <= unavailable }

// IsNull: it is SQL NULL.
func (v Value) IsNull() bool { return v.kind == null }

// AsString is the text of a text, decimal, JSON, ENUM or SET.
func (v Value) AsString() (value string, is bool) {
	switch v.kind {
	case decimal, text, document, label, labels:
		return v.str, true
	}
	return "", false
}

// AsInt64 is an integer, signed or not, that fits.
func (v Value) AsInt64() (value int64, is bool) {
	switch v.kind {
	case signed:
		return int64(v.bits), true
	case unsigned:
		return int64(v.bits), v.bits <= math.MaxInt64
	}
	return 0, false
}

// AsUint64 is an integer, signed or not, that fits.
func (v Value) AsUint64() (value uint64, is bool) {
	switch v.kind {
	case unsigned:
		return v.bits, true
	case signed:
		return v.bits, int64(v.bits) >= 0
	}
	return 0, false
}

// AsFloat64 is a float, single or double.
func (v Value) AsFloat64() (value float64, is bool) {
	switch v.kind {
	case single:
		return float64(math.Float32frombits(uint32(v.bits))), true
	case double:
		return math.Float64frombits(v.bits), true
	}
	return 0, false
}

// AsBool is a boolean.
func (v Value) AsBool() (value, is bool) { return v.bits != 0, v.kind == boolean }

// AsBytes are bytes, or the 16 of a UUID.
func (v Value) AsBytes() (bytes []byte, is bool) {
	if v.kind == blob || v.kind == uuid {
		return []byte(v.str), true
	}
	return nil, false
}

// AsDays is a date in days since 1970-01-01.
func (v Value) AsDays() (days int32, is bool) { return int32(v.bits), v.kind == date }

// AsMicros is a time, a datetime or a timestamp in microseconds.
func (v Value) AsMicros() (micros int64, is bool) {
	return int64(v.bits), v.kind == clock || v.kind == datetime || v.kind == timestamp
}

// Elements are the elements of an array; nil for anything else.
func (v Value) Elements() []Value {
	if v.kind != array {
		return nil
	}
	elements := []Value{}
	for rest := v.str; len(rest) >= 5; {
		size := int(binary.LittleEndian.Uint32([]byte(rest[1:5])))
		if size > len(rest)-5 {
			break
		}
		element, fits := decodeValue(rest[0], rest[5:5+size])
		if !fits {
			break
		}
		elements = append(elements, element)
		rest = rest[5+size:]
	}
	return elements
}

// Encoded is an array's elements as the interface has them; see [EncodedArray].
func (v Value) Encoded() string {
	if v.kind != array {
		return ""
	}
	return v.str
}

// appendBytes appends the value's bytes without its kind.
func (v Value) appendBytes(out []byte) []byte {
	switch v.kind {
	case absent, null, unavailable:
		return out
	case boolean:
		return append(out, byte(v.bits))
	case single, date:
		return binary.LittleEndian.AppendUint32(out, uint32(v.bits))
	case signed, unsigned, double, clock, datetime, timestamp:
		return binary.LittleEndian.AppendUint64(out, v.bits)
	}
	return append(out, v.str...)
}

// decodeValue reads back what appendBytes wrote.
func decodeValue(kind uint8, bytes string) (value Value, fits bool) {
	switch kind {
	case absent, null, unavailable:
		return Value{kind: kind}, bytes == ""
	case boolean:
		if len(bytes) != 1 {
			return Value{}, false
		}
		return Bool(bytes[0] != 0), true
	case single, date:
		if len(bytes) != 4 {
			return Value{}, false
		}
		bits := binary.LittleEndian.Uint32([]byte(bytes))
		if kind == date {
			return Date(int32(bits)), true
		}
		return Value{kind: single, bits: uint64(bits)}, true
	case signed, unsigned, double, clock, datetime, timestamp:
		if len(bytes) != 8 {
			return Value{}, false
		}
		return Value{kind: kind, bits: binary.LittleEndian.Uint64([]byte(bytes))}, true
	}
	return Value{kind: kind, str: bytes}, int(kind) < len(kinds) && (kind != uuid || len(bytes) == 16)
}
