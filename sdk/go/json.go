package deltaforge

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the value's JSON form, as messages show it: an unavailable value is `{"_unavailable":true}`, bytes
// are `{"_base64":"..."}`, integers keep all their digits, a decimal is a string, and so are dates and times. Absent has
// no form of its own and becomes `null`.
func (v Value) AppendJSON(out []byte) []byte {
	switch v.kind {
	case absent, null:
		return append(out, "null"...)
	case unavailable:
		return append(out, `{"_unavailable":true}`...)
	case boolean:
		return strconv.AppendBool(out, v.bits != 0)
	case signed:
		return strconv.AppendInt(out, int64(v.bits), 10)
	case unsigned:
		return strconv.AppendUint(out, v.bits, 10)
	case single:
		return appendFloat(out, float64(math.Float32frombits(uint32(v.bits))), 32)
	case double:
		return appendFloat(out, math.Float64frombits(v.bits), 64)
	case decimal, text, label, labels:
		return AppendJSONString(out, v.str)
	case blob:
		out = append(out, `{"_base64":"`...)
		out = base64.StdEncoding.AppendEncode(out, []byte(v.str))
		return append(out, `"}`...)
	case document:
		return appendDocument(out, v.str)
	case array:
		out = append(out, '[')
		for at, element := range v.Elements() {
			if at > 0 {
				out = append(out, ',')
			}
			out = element.AppendJSON(out)
		}
		return append(out, ']')
	}
	out = append(out, '"')
	switch v.kind {
	case date:
		out = appendDate(out, int64(v.bits))
	case clock:
		out = appendClock(out, int64(v.bits))
	case datetime:
		out = appendMoment(out, int64(v.bits))
	case timestamp:
		out = append(appendMoment(out, int64(v.bits)), 'Z')
	case uuid:
		out = appendUUID(out, v.str)
	}
	return append(out, '"')
}

// ToJSON is the value's JSON form; see [Value.AppendJSON].
func (v Value) ToJSON() string { return string(v.AppendJSON(nil)) }

// appendDocument appends a JSON document without white space between its tokens; what is no document becomes a string.
func appendDocument(out []byte, document string) []byte {
	var compact bytes.Buffer
	if json.Compact(&compact, []byte(document)) != nil {
		return AppendJSONString(out, document)
	}
	return append(out, compact.Bytes()...)
}

// AppendJSONString appends a JSON string with its quotes. It escapes what JSON demands and nothing else.
func AppendJSONString(out []byte, text string) []byte {
	const digits = "0123456789abcdef"
	out = append(out, '"')
	start := 0
	for at := 0; at < len(text); at++ {
		c := text[at]
		if c >= 0x20 && c != '"' && c != '\\' {
			continue
		}
		out = append(out, text[start:at]...)
		start = at + 1
		switch c {
		case '"', '\\':
			out = append(out, '\\', c)
		case '\n':
			out = append(out, '\\', 'n')
		case '\r':
			out = append(out, '\\', 'r')
		case '\t':
			out = append(out, '\\', 't')
		case '\b':
			out = append(out, '\\', 'b')
		case '\f':
			out = append(out, '\\', 'f')
		default:
			out = append(out, '\\', 'u', '0', '0', digits[c>>4], digits[c&15])
		}
	}
	rest := text[start:]
	if !utf8.ValidString(rest) {
		rest = string([]rune(rest))
	}
	return append(append(out, rest...), '"')
}

// appendFloat appends the shortest number that reads back the same, with a point or an exponent so that it shows that it
// is a float; what is no number becomes a string.
func appendFloat(out []byte, value float64, bits int) []byte {
	switch {
	case math.IsNaN(value):
		return append(out, `"NaN"`...)
	case math.IsInf(value, 1):
		return append(out, `"Infinity"`...)
	case math.IsInf(value, -1):
		return append(out, `"-Infinity"`...)
	case value == 0:
		if math.Signbit(value) {
			out = append(out, '-')
		}
		return append(out, "0.0"...)
	}
	// Digits and a decimal exponent: `d.ddde±x`.
	var room [32]byte
	shortest := strconv.AppendFloat(room[:0], value, 'e', -1, bits)
	if shortest[0] == '-' {
		out, shortest = append(out, '-'), shortest[1:]
	}
	mantissa, exponent, _ := bytes.Cut(shortest, []byte("e"))
	power, err := strconv.Atoi(string(exponent))
	if err != nil {
		panic(err) // strconv wrote it
	}
	first, rest, _ := bytes.Cut(mantissa, []byte("."))
	number := append(first[:1:1], rest...)
	// Plain digits as long as they are few.
	most, least := 16, -5
	if bits == 32 {
		most, least = 13, -6
	}
	switch before := power + 1; {
	case before >= len(number) && before <= most:
		out = append(out, number...)
		for range before - len(number) {
			out = append(out, '0')
		}
		return append(out, ".0"...)
	case before > 0 && before <= most:
		out = append(out, number[:before]...)
		out = append(out, '.')
		return append(out, number[before:]...)
	case before > least && before <= 0:
		out = append(out, "0."...)
		for range -before {
			out = append(out, '0')
		}
		return append(out, number...)
	}
	out = append(out, number[0])
	if len(number) > 1 {
		out = append(append(out, '.'), number[1:]...)
	}
	return strconv.AppendInt(append(out, 'e'), int64(power), 10)
}

func appendUUID(out []byte, id string) []byte {
	var digits [32]byte
	hex.Encode(digits[:], []byte(id))
	for at, end := range []int{8, 12, 16, 20, 32} {
		start := []int{0, 8, 12, 16, 20}[at]
		if at > 0 {
			out = append(out, '-')
		}
		out = append(out, digits[start:end]...)
	}
	return out
}
