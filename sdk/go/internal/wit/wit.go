//go:build wasip1

// Package wit is what the generated bindings need at run time: the types that Go has not, and memory for what crosses.
package wit

import (
	"runtime"
	"unsafe"
)

// Option is a value or none.
type Option[T any] struct {
	value T
	some  bool
}

const (
	// OptionNone is the tag of none.
	OptionNone = 0
	// OptionSome is the tag of a value.
	OptionSome = 1
)

// Some is a value.
func Some[T any](value T) Option[T] { return Option[T]{value, true} }

// None is none.
func None[T any]() Option[T] { return Option[T]{} }

// Tag is OptionNone or OptionSome.
func (o Option[T]) Tag() uint8 {
	if o.some {
		return OptionSome
	}
	return OptionNone
}

// Some is the value; the zero value where there is none.
func (o Option[T]) Some() T { return o.value }

// IsSome says whether there is a value.
func (o Option[T]) IsSome() bool { return o.some }

// Pointer is the value, or nil.
func (o Option[T]) Pointer() *T {
	if !o.some {
		return nil
	}
	return &o.value
}

// Result is an answer or an error.
type Result[T, E any] struct {
	ok  T
	err E
	bad bool
}

const (
	// ResultOk is the tag of an answer.
	ResultOk = 0
	// ResultErr is the tag of an error.
	ResultErr = 1
)

// Ok is an answer.
func Ok[T, E any](value T) Result[T, E] { return Result[T, E]{ok: value} }

// Err is an error.
func Err[T, E any](err E) Result[T, E] { return Result[T, E]{err: err, bad: true} }

// Tag is ResultOk or ResultErr.
func (r Result[T, E]) Tag() uint8 {
	if r.bad {
		return ResultErr
	}
	return ResultOk
}

// Ok is the answer.
func (r Result[T, E]) Ok() T { return r.ok }

// Err is the error.
func (r Result[T, E]) Err() E { return r.err }

// IsErr says whether it is an error.
func (r Result[T, E]) IsErr() bool { return r.bad }

// Unit is nothing.
type Unit struct{}

// Tuple2 are two values.
type Tuple2[A, B any] struct {
	F0 A
	F1 B
}

// Handle is the host's number for something that it lends.
type Handle struct{ value int32 }

// MakeHandle keeps a number.
func MakeHandle(value int32) *Handle { return &Handle{value} }

// Use is the number.
func (h *Handle) Use() int32 {
	if h.value == 0 {
		panic("a batch is used after the call that it was lent for")
	}
	return h.value
}

// Take is the number, which is not used again.
func (h *Handle) Take() int32 {
	value := h.Use()
	h.value = 0
	return value
}

// TakeOrNil is the number, which is not used again; 0 where it was taken before.
func (h *Handle) TakeOrNil() int32 {
	value := h.value
	h.value = 0
	return value
}

// Set keeps another number.
func (h *Handle) Set(value int32) { h.value = value }

// Allocate is memory that the host reads or writes, until the pinner lets go of it.
func Allocate(pinner *runtime.Pinner, size, align uintptr) unsafe.Pointer {
	memory := allocate(size, align)
	if memory != nil {
		pinner.Pin(memory)
	}
	return memory
}

func allocate(size, align uintptr) unsafe.Pointer {
	switch {
	case size == 0:
		return nil
	case align == 1:
		return unsafe.Pointer(unsafe.SliceData(make([]uint8, size)))
	case align <= 8:
		return unsafe.Pointer(unsafe.SliceData(make([]uint64, (size+7)/8)))
	}
	panic("no type of the interface is aligned so")
}

// What the host has written and nobody refers to yet.
var kept []unsafe.Pointer

// Unpin lets go of what the host has written: whoever uses it refers to it by now, or it is garbage.
func Unpin() {
	clear(kept)
	kept = kept[:0]
}

// empty is where lists without elements lie.
var empty uint64

// realloc is asked by the host for memory to write into: lists and strings that a call answers or is given. They are
// never made longer.
//
//go:wasmexport cabi_realloc
func realloc(old unsafe.Pointer, oldSize, align, size uintptr) unsafe.Pointer {
	if oldSize != 0 {
		panic("what the host has written is not made longer")
	}
	memory := allocate(size, align)
	if memory == nil {
		return unsafe.Pointer(&empty) // what is empty lies anywhere, as long as it is aligned
	}
	kept = append(kept, memory)
	return memory
}
