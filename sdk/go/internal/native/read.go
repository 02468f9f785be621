package native

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"deltaforge"
)

// member is a member of a JSON object, in the order of the text.
type member struct {
	name  string
	value json.RawMessage
}

// Members are the members of a JSON object, in their order.
type Members []member

// UnmarshalJSON reads an object.
func (m *Members) UnmarshalJSON(text []byte) error {
	decoder := json.NewDecoder(bytes.NewReader(text))
	open, err := decoder.Token()
	if err != nil {
		return err
	}
	if open != json.Delim('{') {
		return fmt.Errorf("%s is no object", text)
	}
	for decoder.More() {
		name, err := decoder.Token()
		if err != nil {
			return err
		}
		next := member{name: name.(string)}
		if err := decoder.Decode(&next.value); err != nil {
			return err
		}
		*m = append(*m, next)
	}
	_, err = decoder.Token()
	return err
}

// Each calls with every member.
func (m Members) Each(call func(name string, value json.RawMessage)) {
	for _, member := range m {
		call(member.name, member.value)
	}
}

// get is a member's text; nil where there is none. Of several with one name the last counts.
func (m Members) get(name string) json.RawMessage {
	for _, member := range slices.Backward(m) {
		if member.name == name {
			return member.value
		}
	}
	return nil
}

// IsColumnKind says whether columns can be declared as this kind.
func IsColumnKind(kind deltaforge.Kind) bool {
	switch kind {
	case deltaforge.KindBool, deltaforge.KindInt, deltaforge.KindUint, deltaforge.KindFloat32, deltaforge.KindFloat64,
		deltaforge.KindDecimal, deltaforge.KindText, deltaforge.KindBytes, deltaforge.KindDate, deltaforge.KindTime,
		deltaforge.KindDatetime, deltaforge.KindTimestamp, deltaforge.KindJSON, deltaforge.KindUUID, deltaforge.KindEnum,
		deltaforge.KindSet, deltaforge.KindArray, deltaforge.KindAny:
		return true
	}
	return false
}

// KindOf is the kind that a JSON value shows, or names, for columns that nobody declared.
func KindOf(raw json.RawMessage) deltaforge.Kind {
	switch text := strings.TrimSpace(string(raw)); text[0] {
	case 'n':
		return deltaforge.KindAny
	case 't', 'f':
		return deltaforge.KindBool
	case '"':
		return deltaforge.KindText
	case '{':
		var members Members
		isBase64 := func(one member) bool { return one.name == "_base64" }
		if json.Unmarshal([]byte(text), &members) == nil && slices.ContainsFunc(members, isBase64) {
			return deltaforge.KindBytes
		}
		if kind, _ := named(json.RawMessage(text)); kind != "" {
			return kind
		}
		return deltaforge.KindJSON
	case '[':
		return deltaforge.KindJSON
	default:
		if strings.ContainsAny(text, ".eE") {
			return deltaforge.KindFloat64
		}
		if _, err := strconv.ParseInt(text, 10, 64); err == nil {
			return deltaforge.KindInt
		}
		if _, err := strconv.ParseUint(text, 10, 64); err == nil {
			return deltaforge.KindUint
		}
		return deltaforge.KindFloat64
	}
}

// deepest is how deep arrays nest.
const deepest = 8

// Cell reads a cell of a column that is declared as kind. A value that does not fit the kind keeps its own: a string
// becomes text, a number an integer or a double, an object or an array JSON.
func Cell(raw json.RawMessage, kind deltaforge.Kind) (deltaforge.Value, error) {
	return cell(string(bytes.TrimSpace(raw)), kind, 0)
}

// CellOrNamed is as [Cell], and takes a value that says its kind: `{"_text": "12"}` is text in a column of integers too.
func CellOrNamed(raw json.RawMessage, kind deltaforge.Kind) (deltaforge.Value, error) {
	named, value := named(raw)
	if named != "" && string(value) == "null" {
		return deltaforge.Value{}, fmt.Errorf("%s is no %s", raw, named)
	}
	switch named {
	case "":
		return Cell(raw, kind)
	case deltaforge.KindArray:
		var raws []json.RawMessage
		if err := json.Unmarshal(value, &raws); err != nil {
			return deltaforge.Value{}, err
		}
		elements := make([]deltaforge.Value, len(raws))
		for at, raw := range raws {
			var err error
			if elements[at], err = CellOrNamed(raw, deltaforge.KindAny); err != nil {
				return deltaforge.Value{}, err
			}
		}
		return deltaforge.Array(elements...), nil
	case deltaforge.KindText, deltaforge.KindDecimal, deltaforge.KindJSON:
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return deltaforge.Value{}, err
		}
		switch named {
		case deltaforge.KindDecimal:
			return deltaforge.Decimal(text), nil
		case deltaforge.KindJSON:
			return deltaforge.JSON(text), nil
		}
		return deltaforge.Text(text), nil
	}
	cell, err := Cell(value, named)
	if err == nil && cell.Kind() != named {
		err = fmt.Errorf("%s is no %s", raw, named)
	}
	return cell, err
}

// named is the kind that an object names as its only member, with the value; empty: it names none.
func named(raw json.RawMessage) (deltaforge.Kind, json.RawMessage) {
	var members Members
	if len(raw) == 0 || raw[0] != '{' || json.Unmarshal(raw, &members) != nil || len(members) != 1 {
		return "", nil
	}
	name, is := strings.CutPrefix(members[0].name, "_")
	kind := deltaforge.Kind(name)
	if !is || kind == deltaforge.KindAny || !IsColumnKind(kind) {
		return "", nil
	}
	return kind, members[0].value
}

func cell(raw string, kind deltaforge.Kind, depth int) (deltaforge.Value, error) {
	if raw == "null" {
		return deltaforge.Null(), nil
	}
	if raw == "" || !json.Valid([]byte(raw)) {
		return deltaforge.Value{}, fmt.Errorf("%q is no JSON value", raw)
	}
	if raw[0] == '{' && only(raw, "_unavailable") == "true" {
		return deltaforge.Unavailable(), nil
	}
	switch {
	case kind == deltaforge.KindArray && raw[0] == '[' && depth < deepest:
		return arrayOf(raw, depth)
	case kind == deltaforge.KindJSON:
		return document(raw), nil
	}
	switch raw[0] {
	case '"':
		var text string
		if err := json.Unmarshal([]byte(raw), &text); err != nil {
			return deltaforge.Value{}, err
		}
		return ofString(text, kind), nil
	case 't', 'f':
		return deltaforge.Bool(raw[0] == 't'), nil
	case '{', '[':
		if quoted := only(raw, "_base64"); raw[0] == '{' && quoted != "" {
			var content []byte
			if json.Unmarshal([]byte(quoted), &content) == nil {
				return deltaforge.Bytes(content), nil
			}
		}
		return document(raw), nil
	}
	return number(raw, kind), nil
}

// only is the value of an object's only member, if that is its name.
func only(raw, name string) string {
	if !strings.Contains(raw, name) {
		return ""
	}
	var members Members
	if json.Unmarshal([]byte(raw), &members) != nil || len(members) != 1 || members[0].name != name {
		return ""
	}
	return string(members[0].value)
}

func document(raw string) deltaforge.Value {
	return deltaforge.JSON(deltaforge.JSON(raw).ToJSON())
}

func arrayOf(raw string, depth int) (deltaforge.Value, error) {
	var raws []json.RawMessage
	if err := json.Unmarshal([]byte(raw), &raws); err != nil {
		return deltaforge.Value{}, err
	}
	elements := make([]deltaforge.Value, len(raws))
	for at, raw := range raws {
		kind := deltaforge.KindAny
		if raw[0] == '[' {
			kind = deltaforge.KindArray
		}
		element, err := cell(string(raw), kind, depth+1)
		if err != nil {
			return deltaforge.Value{}, err
		}
		elements[at] = element
	}
	return deltaforge.Array(elements...), nil
}

func ofString(text string, kind deltaforge.Kind) deltaforge.Value {
	switch kind {
	case deltaforge.KindInt, deltaforge.KindUint:
		if value, is := integer(text, kind); is {
			return value
		}
	case deltaforge.KindFloat32, deltaforge.KindFloat64:
		if value, is := nonFinite(text); is {
			if kind == deltaforge.KindFloat32 {
				return deltaforge.Float32(float32(value))
			}
			return deltaforge.Float64(value)
		}
	case deltaforge.KindDecimal:
		if isDecimal(text) {
			return deltaforge.Decimal(text)
		}
	case deltaforge.KindDate:
		if days, is := readDate(text); is {
			return deltaforge.Date(days)
		}
	case deltaforge.KindTime:
		if micros, is := readTime(text); is {
			return deltaforge.Time(micros)
		}
	case deltaforge.KindDatetime:
		if micros, is := readDatetime(text); is {
			return deltaforge.Datetime(micros)
		}
	case deltaforge.KindTimestamp:
		if micros, is := readTimestamp(text); is {
			return deltaforge.Timestamp(micros)
		}
	case deltaforge.KindUUID:
		if id, is := readUUID(text); is {
			return deltaforge.UUID(id)
		}
	case deltaforge.KindEnum:
		return deltaforge.Enum(text)
	case deltaforge.KindSet:
		return deltaforge.Set(text)
	}
	return deltaforge.Text(text)
}

func number(raw string, kind deltaforge.Kind) deltaforge.Value {
	value, _ := strconv.ParseFloat(raw, 64) // beyond its range it is infinite, as it should be
	switch kind {
	case deltaforge.KindFloat64:
		return deltaforge.Float64(value)
	case deltaforge.KindFloat32:
		nearest, _ := strconv.ParseFloat(raw, 32)
		return deltaforge.Float32(float32(nearest))
	case deltaforge.KindDecimal:
		if isDecimal(raw) {
			return deltaforge.Decimal(raw)
		}
	case deltaforge.KindInt, deltaforge.KindUint:
		if math.Trunc(value) == value && math.Abs(value) < 9e15 {
			if kind == deltaforge.KindUint && value >= 0 {
				return deltaforge.Uint(uint64(value))
			}
			return deltaforge.Int(int64(value))
		}
	}
	if whole, is := integer(raw, kind); is {
		return whole
	}
	return deltaforge.Float64(value)
}

// integer is an integer as databases spell it.
func integer(text string, kind deltaforge.Kind) (deltaforge.Value, bool) {
	digits := strings.TrimPrefix(text, "-")
	if digits == "" || strings.Trim(digits, "0123456789") != "" || text == "-0" || len(digits) > 1 && digits[0] == '0' {
		return deltaforge.Value{}, false
	}
	if value, err := strconv.ParseInt(text, 10, 64); err == nil {
		if kind == deltaforge.KindUint && value >= 0 {
			return deltaforge.Uint(uint64(value)), true
		}
		return deltaforge.Int(value), true
	}
	value, err := strconv.ParseUint(text, 10, 64)
	return deltaforge.Uint(value), err == nil
}

func nonFinite(text string) (float64, bool) {
	switch text {
	case "NaN":
		return math.NaN(), true
	case "Infinity":
		return math.Inf(1), true
	case "-Infinity":
		return math.Inf(-1), true
	}
	return 0, false
}

// isDecimal: digits with at most one point, or a name for what has no digits.
func isDecimal(text string) bool {
	if _, is := nonFinite(text); is {
		return true
	}
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	return whole+fraction != "" && strings.Trim(whole, "0123456789")+strings.Trim(fraction, "0123456789") == ""
}

func readUUID(text string) (id [16]byte, is bool) {
	if len(text) != 36 || text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-' {
		return id, false
	}
	count, err := hex.Decode(id[:], []byte(strings.ReplaceAll(text, "-", "")))
	return id, err == nil && count == 16
}
