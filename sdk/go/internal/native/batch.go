// Package native is a batch in plain memory, for plugins that run without WebAssembly: their tests.
//
// It does what the host does, in the same order: getters answer the batch as it came, edits are checked when they are
// made and show in what [Batch.Result] answers.
package native

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"

	"deltaforge"
	"deltaforge/internal/xxh3"
)

// Info is what all events of a batch have in common.
type Info struct {
	deltaforge.Source
	// Version is the source's version, as events state it.
	Version string
	// PositionName is what a position is called in `source`.
	PositionName string
}

// ID is an event's id.
type ID [16]byte

// DeriveID makes an id of the source's time and the parts that name the change. It is a UUID of version 7.
func DeriveID(millis int64, parts ...[]byte) ID {
	var in []byte
	for _, part := range parts {
		in = binary.LittleEndian.AppendUint64(in, uint64(len(part)))
		in = append(in, part...)
	}
	id := ID(xxh3.Sum128(in))
	var time [8]byte
	binary.BigEndian.PutUint64(time[:], uint64(max(millis, 0)))
	copy(id[:6], time[2:])
	id[6] = 0x70 | id[6]&0x0f
	id[8] = 0x80 | id[8]&0x3f
	return id
}

func (id ID) String() string {
	digits := hex.EncodeToString(id[:])
	return digits[:8] + "-" + digits[8:12] + "-" + digits[12:16] + "-" + digits[16:20] + "-" + digits[20:]
}

func (id ID) millis() int64 {
	return int64(binary.BigEndian.Uint64(append([]byte{0, 0}, id[:6]...)))
}

// child is the id of the k-th event that a stage made out of this one.
func (id ID) child(stage string, k uint32) ID {
	return DeriveID(id.millis(), id[:], []byte(stage), binary.LittleEndian.AppendUint32(nil, k))
}

// Image is a row image: cells by column; what is behind its end is absent. Nil: there is no such image.
type Image []deltaforge.Value

func (i Image) cell(column int) deltaforge.Value {
	if column < len(i) {
		return i[column]
	}
	return deltaforge.Absent()
}

// Event is one event.
type Event struct {
	ID          ID
	Op          deltaforge.Op
	Table       int
	Images      [2]Image
	Micros      int64
	Transaction string
	Ordinal     uint32
	Position    uint64
	// Last says whether it is the last of its transaction.
	Last   bool
	Extras deltaforge.Extras
	// Members that a plugin has set, in order.
	fields []member
}

// Rejected is an event that was taken out of the stream.
type Rejected struct {
	Row    int
	Reason string
}

// Batch is a batch in memory, and what a plugin changes in it. It is a [deltaforge.Backend].
type Batch struct {
	Info   Info
	tables []deltaforge.Table
	// Per table, the names of its key columns in key order.
	keys   [][]string
	events []Event

	// The names behind column ids.
	columns []string
	edits   edits
	// Whether it is shown to a formatter.
	frozen bool
}

// New makes a batch; keys names the key columns of each table, in key order. Which columns are of a key, and the tables'
// fingerprints, are set here.
func New(info Info, tables []deltaforge.Table, keys [][]string, events []Event) *Batch {
	for at := range tables {
		table := &tables[at]
		for nth := range table.Columns {
			table.Columns[nth].Key = slices.Contains(keys[at], table.Columns[nth].Name)
		}
		table.Fingerprint = fingerprint(table, keys[at])
	}
	batch := &Batch{Info: info, tables: tables, keys: keys, events: events}
	batch.edits = newEdits(batch)
	return batch
}

// Freeze makes it a formatter's batch, which cannot be edited.
func (b *Batch) Freeze() *Batch {
	b.frozen = true
	return b
}

func fingerprint(table *deltaforge.Table, key []string) uint64 {
	var in []byte
	text := func(text string) {
		in = binary.LittleEndian.AppendUint32(in, uint32(len(text)))
		in = append(in, text...)
	}
	text(table.Database)
	text(table.Schema)
	text(table.Name)
	for _, column := range table.Columns {
		text(column.Name)
		text(string(column.Kind))
		text(column.SourceType)
		if column.Nullable {
			in = append(in, 1)
		} else {
			in = append(in, 0)
		}
	}
	for _, name := range key {
		if at, found := table.Column(name); found {
			in = binary.LittleEndian.AppendUint16(in, uint16(at))
		}
	}
	return xxh3.Sum64(in)
}

func (b *Batch) event(row int) *Event {
	if row < 0 || row >= len(b.events) {
		refuse("row %d does not exist, the batch has %d", row, len(b.events))
	}
	return &b.events[row]
}

// column is the index of a column in a table, or -1.
func (b *Batch) column(table int, name string) int {
	if at, found := b.tables[table].Column(name); found {
		return at
	}
	return -1
}

// cells calls with every row's cell of a column; absent where there is no such image or column.
func (b *Batch) cells(image deltaforge.Image, column string, each func(deltaforge.Value)) {
	for at := range b.events {
		event := &b.events[at]
		value := deltaforge.Absent()
		if index := b.column(event.Table, column); index >= 0 {
			value = event.Images[image].cell(index)
		}
		each(value)
	}
}

// presence is what an entry of a column is, when it is no value.
func presence(value deltaforge.Value) uint8 {
	switch value.Kind() {
	case deltaforge.KindAbsent:
		return deltaforge.PresenceNone
	case deltaforge.KindNull:
		return deltaforge.PresenceNull
	case deltaforge.KindUnavailable:
		return deltaforge.PresenceUnavailable
	}
	return deltaforge.PresenceOther
}

func (b *Batch) Len() int                   { return len(b.events) }
func (b *Batch) Source() deltaforge.Source  { return b.Info.Source }
func (b *Batch) Tables() []deltaforge.Table { return slices.Clone(b.tables) }

func (b *Batch) TableOf() []uint32 {
	return perEvent(b, func(event *Event) uint32 { return uint32(event.Table) })
}

func (b *Batch) Ops() []deltaforge.Op {
	return perEvent(b, func(event *Event) deltaforge.Op { return event.Op })
}

func (b *Batch) Times() []int64 {
	return perEvent(b, func(event *Event) int64 { return event.Micros })
}

func (b *Batch) TransactionEnds() []bool {
	return perEvent(b, func(event *Event) bool { return event.Last })
}

func perEvent[T any](b *Batch, of func(*Event) T) []T {
	all := make([]T, len(b.events))
	for at := range b.events {
		all[at] = of(&b.events[at])
	}
	return all
}

func (b *Batch) Origin(row int) deltaforge.Origin { return origin(b.event(row)) }

func (b *Batch) Origins() []deltaforge.Origin { return perEvent(b, origin) }

func origin(event *Event) deltaforge.Origin {
	return deltaforge.Origin{
		EventID:     event.ID.String(),
		Micros:      event.Micros,
		Transaction: event.Transaction,
		Ordinal:     event.Ordinal,
		Position:    event.Position,
	}
}

func (b *Batch) Extras(row int) deltaforge.Extras { return cloneExtras(b.event(row).Extras) }

func cloneExtras(extras deltaforge.Extras) deltaforge.Extras {
	extras.Tags, extras.Headers = slices.Clone(extras.Tags), slices.Clone(extras.Headers)
	return extras
}

func (b *Batch) Ints(image deltaforge.Image, column string) (ints deltaforge.Ints) {
	b.cells(image, column, func(cell deltaforge.Value) {
		present, value := presence(cell), int64(0)
		if number, is := cell.AsInt64(); is {
			present, value = deltaforge.PresenceValue, number
		} else if yes, is := cell.AsBool(); is {
			present = deltaforge.PresenceValue
			if yes {
				value = 1
			}
		} else if days, is := cell.AsDays(); is {
			present, value = deltaforge.PresenceValue, int64(days)
		} else if micros, is := cell.AsMicros(); is {
			present, value = deltaforge.PresenceValue, micros
		}
		ints.Present, ints.Values = append(ints.Present, present), append(ints.Values, value)
	})
	return ints
}

func (b *Batch) Floats(image deltaforge.Image, column string) (floats deltaforge.Floats) {
	b.cells(image, column, func(cell deltaforge.Value) {
		present := presence(cell)
		value, is := cell.AsFloat64()
		if is {
			present = deltaforge.PresenceValue
		}
		floats.Present, floats.Values = append(floats.Present, present), append(floats.Values, value)
	})
	return floats
}

func (b *Batch) Flats(image deltaforge.Image, column string) (flat deltaforge.Flat) {
	b.cells(image, column, func(cell deltaforge.Value) {
		if text, is := cell.AsString(); is {
			flat.PushText(text)
		} else if bytes, is := cell.AsBytes(); is && cell.Kind() == deltaforge.KindBytes {
			flat.Push(deltaforge.PresenceValue, bytes)
		} else {
			flat.Push(presence(cell), nil)
		}
	})
	return flat
}

func (b *Batch) Rows(columns []string) []deltaforge.RowView {
	return perEvent(b, func(event *Event) deltaforge.RowView {
		return deltaforge.NewRowView(event.Op, event.Table,
			b.pick(event, deltaforge.Before, columns), b.pick(event, deltaforge.After, columns))
	})
}

func (b *Batch) pick(event *Event, image deltaforge.Image, columns []string) []deltaforge.Value {
	held := event.Images[image]
	if held == nil {
		return nil
	}
	values := []deltaforge.Value{}
	if len(columns) == 0 {
		for at := range b.tables[event.Table].Columns {
			values = append(values, held.cell(at))
		}
		return values
	}
	for _, column := range columns {
		value := deltaforge.Absent()
		if at := b.column(event.Table, column); at >= 0 {
			value = held.cell(at)
		}
		values = append(values, value)
	}
	return values
}

func (b *Batch) Column(name string) (deltaforge.ColumnID, bool) {
	if at := slices.Index(b.columns, name); at >= 0 {
		return deltaforge.ColumnID(at), true
	}
	for table := range b.tables {
		if b.column(table, name) >= 0 {
			b.columns = append(b.columns, name)
			return deltaforge.ColumnID(len(b.columns) - 1), true
		}
	}
	return 0, false
}

func (b *Batch) named(column deltaforge.ColumnID) string {
	if uint64(column) >= uint64(len(b.columns)) {
		refuse("column %d was never asked for", column)
	}
	return b.columns[column]
}

func (b *Batch) Get(row int, image deltaforge.Image, column deltaforge.ColumnID) deltaforge.Value {
	event := b.event(row)
	if at := b.column(event.Table, b.named(column)); at >= 0 {
		return event.Images[image].cell(at)
	}
	return deltaforge.Absent()
}

// Refused is an edit or a question that makes no sense. It ends the call, as a trap does in a component.
type Refused struct{ Message string }

func (r *Refused) Error() string { return r.Message }

func refuse(format string, args ...any) {
	panic(&Refused{fmt.Sprintf(format, args...)})
}
