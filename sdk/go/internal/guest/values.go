//go:build wasip1

package guest

import (
	"math"
	"runtime"
	"unsafe"

	"deltaforge"
	"deltaforge/internal/bindings/deltaforge_plugin_types"
	"deltaforge/internal/wit"
)

// value is the interface's `value` as memory holds it.
type value struct {
	kind uint8
	_    [7]byte
	bits uint64
}

// lift takes a value over. The host has written its text into memory that is the plugin's own.
func (v *value) lift() deltaforge.Value {
	switch v.kind {
	case deltaforge_plugin_types.Value_Boolean:
		return deltaforge.Bool(uint8(v.bits) != 0)
	case deltaforge_plugin_types.Value_Date:
		return deltaforge.Date(int32(v.bits))
	case deltaforge_plugin_types.Value_Float32:
		return deltaforge.FromRaw(v.kind, uint64(uint32(v.bits)), "")
	case deltaforge_plugin_types.Value_Decimal, deltaforge_plugin_types.Value_Text,
		deltaforge_plugin_types.Value_Bytes, deltaforge_plugin_types.Value_Json, deltaforge_plugin_types.Value_Uuid,
		deltaforge_plugin_types.Value_Enumerated, deltaforge_plugin_types.Value_Labels,
		deltaforge_plugin_types.Value_Array:
		size := v.bits >> 32
		if size == 0 {
			return deltaforge.FromRaw(v.kind, 0, "")
		}
		text := unsafe.String((*byte)(unsafe.Pointer(uintptr(uint32(v.bits)))), size)
		return deltaforge.FromRaw(v.kind, 0, text)
	case deltaforge_plugin_types.Value_Absent, deltaforge_plugin_types.Value_Null,
		deltaforge_plugin_types.Value_Unavailable:
		return deltaforge.FromRaw(v.kind, 0, "")
	}
	return deltaforge.FromRaw(v.kind, v.bits, "")
}

//go:wasmimport deltaforge:plugin/events@1.0.0 [method]batch.get
func get(batch int32, row, image, column uint32, answer unsafe.Pointer)

// Where the host writes a cell.
var cell value

func (b *Batch) Get(row int, image deltaforge.Image, column deltaforge.ColumnID) deltaforge.Value {
	get(b.handle.Handle(), uint32(row), uint32(image), uint32(column), unsafe.Pointer(&cell))
	return read(cell.lift())
}

//go:wasmimport deltaforge:plugin/events@1.0.0 [method]batch.rows
func rows(batch int32, columns unsafe.Pointer, count uint32, answer unsafe.Pointer)

// row is the interface's `row` as lists hold it.
type row struct {
	op            uint8
	_             [3]byte
	table         uint32
	before, after image
}

// image is a row image that may be there, as memory holds it.
type image struct {
	there  uint8
	_      [3]byte
	values uint32
	count  uint32
}

// list is a list or a text as memory holds it.
type list struct{ at, count uint32 }

// cells is how many values it has; the members of an image that is not there mean nothing.
func (i *image) cells() int {
	if i.there == 0 {
		return 0
	}
	return int(i.count)
}

func (i *image) lift(into []deltaforge.Value) (values, rest []deltaforge.Value) {
	if i.there == 0 {
		return nil, into
	}
	held := unsafe.Slice((*value)(unsafe.Pointer(uintptr(i.values))), i.count)
	for at := range held {
		into[at] = held[at].lift()
	}
	return into[:i.count:i.count], into[i.count:]
}

func (b *Batch) Rows(columns []string) []deltaforge.RowView {
	names := make([]list, len(columns))
	for at, name := range columns {
		names[at] = list{uint32(uintptr(unsafe.Pointer(unsafe.StringData(name)))), uint32(len(name))}
	}
	answer := new(list)
	rows(b.handle.Handle(), unsafe.Pointer(unsafe.SliceData(names)), uint32(len(names)), unsafe.Pointer(answer))
	runtime.KeepAlive(columns)
	held := unsafe.Slice((*row)(unsafe.Pointer(uintptr(answer.at))), answer.count)
	cells := 0
	for at := range held {
		cells += held[at].before.cells() + held[at].after.cells()
	}
	// One piece for all of them.
	rest := make([]deltaforge.Value, cells)
	views := make([]deltaforge.RowView, len(held))
	for at := range held {
		var before, after []deltaforge.Value
		before, rest = held[at].before.lift(rest)
		after, rest = held[at].after.lift(rest)
		views[at] = deltaforge.NewRowView(deltaforge.Op(held[at].op), int(held[at].table), before, after)
	}
	wit.Unpin()
	return views
}

// lower is a value as the generated bindings take it.
func lower(from deltaforge.Value) deltaforge_plugin_types.Value {
	kind, bits, text := from.Raw()
	switch kind {
	case deltaforge_plugin_types.Value_Null:
		return deltaforge_plugin_types.MakeValueNull()
	case deltaforge_plugin_types.Value_Unavailable:
		return deltaforge_plugin_types.MakeValueUnavailable()
	case deltaforge_plugin_types.Value_Boolean:
		return deltaforge_plugin_types.MakeValueBoolean(bits != 0)
	case deltaforge_plugin_types.Value_Int:
		return deltaforge_plugin_types.MakeValueInt(int64(bits))
	case deltaforge_plugin_types.Value_Uint:
		return deltaforge_plugin_types.MakeValueUint(bits)
	case deltaforge_plugin_types.Value_Float32:
		return deltaforge_plugin_types.MakeValueFloat32(math.Float32frombits(uint32(bits)))
	case deltaforge_plugin_types.Value_Float64:
		return deltaforge_plugin_types.MakeValueFloat64(math.Float64frombits(bits))
	case deltaforge_plugin_types.Value_Decimal:
		return deltaforge_plugin_types.MakeValueDecimal(text)
	case deltaforge_plugin_types.Value_Text:
		return deltaforge_plugin_types.MakeValueText(text)
	case deltaforge_plugin_types.Value_Bytes:
		return deltaforge_plugin_types.MakeValueBytes([]byte(text))
	case deltaforge_plugin_types.Value_Date:
		return deltaforge_plugin_types.MakeValueDate(int32(bits))
	case deltaforge_plugin_types.Value_Time:
		return deltaforge_plugin_types.MakeValueTime(int64(bits))
	case deltaforge_plugin_types.Value_Datetime:
		return deltaforge_plugin_types.MakeValueDatetime(int64(bits))
	case deltaforge_plugin_types.Value_Timestamp:
		return deltaforge_plugin_types.MakeValueTimestamp(int64(bits))
	case deltaforge_plugin_types.Value_Json:
		return deltaforge_plugin_types.MakeValueJson(text)
	case deltaforge_plugin_types.Value_Uuid:
		return deltaforge_plugin_types.MakeValueUuid([]byte(text))
	case deltaforge_plugin_types.Value_Enumerated:
		return deltaforge_plugin_types.MakeValueEnumerated(text)
	case deltaforge_plugin_types.Value_Labels:
		return deltaforge_plugin_types.MakeValueLabels(text)
	case deltaforge_plugin_types.Value_Array:
		return deltaforge_plugin_types.MakeValueArray([]byte(text))
	}
	return deltaforge_plugin_types.MakeValueAbsent()
}
