package deltaforge_test

import (
	"errors"
	"io"
	"math"
	"testing"

	"deltaforge"
)

func TestValuesHaveTheJSONFormOfTheHost(t *testing.T) {
	for wanted, value := range map[string]deltaforge.Value{
		"null":                         deltaforge.Null(),
		`{"_unavailable":true}`:        deltaforge.Unavailable(),
		"18446744073709551615":         deltaforge.Uint(math.MaxUint64),
		"1.0":                          deltaforge.Float64(1),
		"-0.0":                         deltaforge.Float64(math.Copysign(0, -1)),
		"1e16":                         deltaforge.Float64(1e16),
		"1234567890123456.0":           deltaforge.Float64(1234567890123456),
		"1.2345678901234568e16":        deltaforge.Float64(12345678901234567),
		"0.00001":                      deltaforge.Float64(1e-5),
		"1e-6":                         deltaforge.Float64(1e-6),
		"1.5e-7":                       deltaforge.Float64(1.5e-7),
		"5e-324":                       deltaforge.Float64(5e-324),
		"0.1":                          deltaforge.Float32(0.1),
		"0.000001":                     deltaforge.Float32(1e-6),
		"3.4028235e38":                 deltaforge.Float32(math.MaxFloat32),
		`"NaN"`:                        deltaforge.Float64(math.NaN()),
		`"-0001-12-31"`:                deltaforge.Text("-0001-12-31"),
		`"1969-12-31"`:                 deltaforge.Date(-1),
		`"+010000-01-01"`:              deltaforge.Date(2932897),
		`"-000001-12-31"`:              deltaforge.Date(-719529),
		`"-838:59:59.000001"`:          deltaforge.Time(-3020399000001),
		`"1969-12-31T23:59:59.999999"`: deltaforge.Datetime(-1),
		`"2024-01-15T10:30:00Z"`:       deltaforge.Timestamp(1705314600000000),
		`"not JSON"`:                   deltaforge.JSON("not JSON"),
		`{"b":1.50,"a":[]}`:            deltaforge.JSON(` {"b": 1.50, "a": [ ]}`),
		`"\u0001\"\\\n<>&é"`:           deltaforge.Text("\x01\"\\\n<>&é"),
		`["x",null,[1]]`: deltaforge.Array(
			deltaforge.Text("x"), deltaforge.Absent(), deltaforge.Array(deltaforge.Int(1))),
	} {
		if found := value.ToJSON(); found != wanted {
			t.Errorf("%v is %s, not %s", value.Kind(), found, wanted)
		}
	}
}

func TestAnArrayReadsBack(t *testing.T) {
	elements := deltaforge.Array(
		deltaforge.Bool(true), deltaforge.Date(-3), deltaforge.Float32(1.5), deltaforge.UUID([16]byte{1})).Elements()
	if len(elements) != 4 || elements[0].Kind() != deltaforge.KindBool || elements[3].Kind() != deltaforge.KindUUID {
		t.Fatalf("%v", elements)
	}
	if days, is := elements[1].AsDays(); !is || days != -3 {
		t.Errorf("%d days", days)
	}
	if deltaforge.EncodedArray("\x09\xff\xff\xff\xffx").Elements() == nil {
		t.Error("an array that is cut off has no elements, but is one")
	}
}

func TestAFailureKeepsItsCauseAndKind(t *testing.T) {
	err := deltaforge.Retry("read the list: %w", io.ErrUnexpectedEOF)
	if !errors.Is(err, io.ErrUnexpectedEOF) || err.Error() != "read the list: unexpected EOF" {
		t.Errorf("%v", err)
	}
	if deltaforge.FailureOf(errors.Join(err)).Kind != deltaforge.KindRetry {
		t.Error("the kind is lost on the way")
	}
	if deltaforge.FailureOf(io.EOF).Kind != deltaforge.KindFatal {
		t.Error("any other error is fatal")
	}
}

func TestAConfigurationIsReadOverItsDefaults(t *testing.T) {
	type config struct {
		Name string `json:"name"`
		Size int    `json:"size"`
	}
	var seen config
	plugin := deltaforge.NewProcessor(deltaforge.Manifest{}, config{Name: "x", Size: 3},
		func(c config) (deltaforge.Processor, error) {
			seen = c
			return deltaforge.ProcessorFunc(func(*deltaforge.Batch) error { return nil }), nil
		})
	for text, wanted := range map[string]config{
		"": {"x", 3}, " null ": {"x", 3}, `{"size": 0}`: {"x", 0}, `{"name": "y"}`: {"y", 3},
	} {
		if _, err := plugin.Open(text); err != nil || seen != wanted {
			t.Errorf("%q is %v, %v", text, seen, err)
		}
	}
	for text, wanted := range map[string]string{
		`{"colour": 1}`: "unknown field `colour`",
		`{"size": "x"}`: "`size` cannot be a string",
		`{} {}`:         "there is something behind the configuration",
	} {
		if _, err := plugin.Open(text); err == nil || err.Error() != wanted {
			t.Errorf("%q: %v", text, err)
		}
	}
}
