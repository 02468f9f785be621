//go:build wasip1

package guest

import (
	"runtime"
	"unsafe"

	"deltaforge"
)

// edits of single rows are collected in the form in which they cross, and cross in one call: a call for each would cost
// more than the edit, and so would the values that the generated bindings take.
type edits struct {
	list []edit
	// What the edits point to.
	texts []string
}

// edit is the interface's `edit`, as lists hold it: its case, and members at the places that the canonical ABI gives
// them.
type edit struct {
	which  uint8
	_      [7]byte
	row    uint32
	second word // a column's image, an operation, or a text
	third  uint32
	fourth uint32
	// A value: its case, and its bits or a text.
	kind uint8
	_    [7]byte
	bits uint64
	_    [40]byte
}

// A word that begins with a byte, or is an address.
type word uint32

const editSize = 80

// It does not compile when the size is another one.
var _ = [1]struct{}{}[unsafe.Sizeof(edit{})-editSize]

// The cases of an edit.
const (
	editDrop = iota
	editReject
	editSet
	editUnset
	editSetOp
	editTag
	editHeader
)

// mostEdits cross together.
const mostEdits = 4096

//go:wasmimport deltaforge:plugin/events@1.0.0 [method]batch.apply
func apply(batch int32, edits unsafe.Pointer, count uint32)

// flush sends the edits collected so far.
func (b *Batch) flush() {
	if len(b.edits.list) == 0 {
		return
	}
	apply(b.handle.Handle(), unsafe.Pointer(unsafe.SliceData(b.edits.list)), uint32(len(b.edits.list)))
	runtime.KeepAlive(b.edits.texts)
	b.edits.list = b.edits.list[:0]
	clear(b.edits.texts)
	b.edits.texts = b.edits.texts[:0]
}

// edit is the next edit, to fill in.
func (b *Batch) edit(which uint8, row int) *edit {
	if len(b.edits.list) >= mostEdits {
		b.flush()
	}
	b.edits.list = append(b.edits.list, edit{which: which, row: uint32(row)})
	return &b.edits.list[len(b.edits.list)-1]
}

// text keeps a text until the edits have crossed, and says where it is.
func (b *Batch) text(text string) (at, size uint32) {
	if text == "" {
		return 0, 0
	}
	b.edits.texts = append(b.edits.texts, text)
	return uint32(uintptr(unsafe.Pointer(unsafe.StringData(text)))), uint32(len(text))
}

func (b *Batch) DropRow(row int) { b.edit(editDrop, row) }

func (b *Batch) SetOp(row int, op deltaforge.Op) { b.edit(editSetOp, row).second = word(op) }

func (b *Batch) Reject(row int, reason string) { b.textEdit(editReject, row, reason) }

func (b *Batch) Tag(row int, tag string) { b.textEdit(editTag, row, tag) }

func (b *Batch) textEdit(which uint8, row int, text string) {
	next := b.edit(which, row)
	at, size := b.text(text)
	next.second, next.third = word(at), size
}

func (b *Batch) Header(row int, name, value string) {
	next := b.edit(editHeader, row)
	at, size := b.text(name)
	next.second, next.third = word(at), size
	at, size = b.text(value)
	// The value's place and length stand where an edit of a cell has padding and its value's case.
	*(*[2]uint32)(unsafe.Pointer(&next.fourth)) = [2]uint32{at, size}
}

func (b *Batch) Unset(row int, image deltaforge.Image, column deltaforge.ColumnID) {
	next := b.edit(editUnset, row)
	next.second, next.third = word(image), uint32(column)
}

func (b *Batch) Set(row int, image deltaforge.Image, column deltaforge.ColumnID, value deltaforge.Value) {
	kind, bits, text := value.Raw()
	if text != "" {
		at, size := b.text(text)
		bits = uint64(at) | uint64(size)<<32
	}
	next := b.edit(editSet, row)
	next.second, next.third, next.kind, next.bits = word(image), uint32(column), kind, bits
}
