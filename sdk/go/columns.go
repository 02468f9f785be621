package deltaforge

import (
	"math"
	"unsafe"
)

// What an entry of a column is.
const (
	// PresenceNone: the event has no such image, or the row's table no such column. In a setter: leave the cell as it
	// is.
	PresenceNone uint8 = 0
	// PresenceValue: a value.
	PresenceValue uint8 = 1
	// PresenceNull: SQL NULL.
	PresenceNull uint8 = 2
	// PresenceUnavailable: the source did not log the value; it is not NULL. In a setter: leave the cell as it is.
	PresenceUnavailable uint8 = 3
	// PresenceOther: a value of another type; ask for it by [Batch.Get]. In a setter: leave the cell as it is.
	PresenceOther uint8 = 4
)

// Ints is a column of integers, one entry a row: `Values[i]` means something where `Present[i]` is [PresenceValue].
type Ints struct {
	// Present says what each entry is: PresenceNone and so on.
	Present []uint8
	Values  []int64
}

// Floats is a column of floats, one entry a row, as [Ints].
type Floats struct {
	// Present says what each entry is: PresenceNone and so on.
	Present []uint8
	Values  []float64
}

// Flat is a column of texts or bytes in one piece, one entry a row.
type Flat struct {
	// Present says what each entry is: PresenceNone and so on.
	Present []uint8
	// Ends says where each entry ends in Data; it begins where the one before ends.
	Ends []uint32
	Data []byte
}

// Get is the bytes of an entry, whatever it is; they are not copied.
func (f *Flat) Get(row int) []byte {
	start := uint32(0)
	if row > 0 {
		start = f.Ends[row-1]
	}
	end := f.Ends[row]
	return f.Data[start:end:end]
}

// Text is an entry that is a value. The string shares its bytes with Data: it is good as long as those do not change.
func (f *Flat) Text(row int) (text string, is bool) {
	if f.Present[row] != PresenceValue {
		return "", false
	}
	bytes := f.Get(row)
	return unsafe.String(unsafe.SliceData(bytes), len(bytes)), true
}

// Push appends an entry. One that would take Data beyond the 4 GiB that Ends can tell is [PresenceOther] instead.
func (f *Flat) Push(presence uint8, value []byte) {
	if uint64(len(f.Data))+uint64(len(value)) > math.MaxUint32 {
		presence, value = PresenceOther, nil
	}
	f.Data = append(f.Data, value...)
	f.Present = append(f.Present, presence)
	f.Ends = append(f.Ends, uint32(len(f.Data)))
}

// PushText appends a text.
func (f *Flat) PushText(text string) {
	f.Push(PresenceValue, unsafe.Slice(unsafe.StringData(text), len(text)))
}

// Clear takes all entries out and keeps the room, for the next column.
func (f *Flat) Clear() {
	f.Present, f.Ends, f.Data = f.Present[:0], f.Ends[:0], f.Data[:0]
}

// NewFlat is an empty column with room for so many entries and bytes.
func NewFlat(rows, bytes int) Flat {
	return Flat{Present: make([]uint8, 0, rows), Ends: make([]uint32, 0, rows), Data: make([]byte, 0, bytes)}
}
