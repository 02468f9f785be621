//go:build wasip1

// Package guest is the batch of a plugin that is a component: calls into the host, by way of the generated bindings.
// What is called once a cell is called without them.
package guest

import (
	"errors"
	"unsafe"

	"deltaforge"
	"deltaforge/internal/bindings/deltaforge_plugin_events"
	"deltaforge/internal/bindings/deltaforge_plugin_types"
	"deltaforge/internal/wit"
)

// Batch is the host's batch by its handle. It is a [deltaforge.Backend].
type Batch struct {
	handle *deltaforge_plugin_events.Batch
	edits  edits
}

// Kept between calls, since it is as large as the largest one's edits.
var room edits

// Process lends a processor the host's batch.
func Process(handle *deltaforge_plugin_events.Batch, processor deltaforge.Processor) error {
	defer release(handle)
	batch := &Batch{handle: handle, edits: room}
	err := processor.Process(deltaforge.NewBatch(batch))
	if err == nil {
		batch.flush()
	}
	room = edits{batch.edits.list[:0], batch.edits.texts[:0]}
	return err
}

// Format lends a formatter the host's batch.
func Format(handle *deltaforge_plugin_events.Batch, formatter deltaforge.Formatter, bodies *deltaforge.Bodies) error {
	defer release(handle)
	return formatter.Format(deltaforge.NewBatch(&Batch{handle: handle}), bodies)
}

// release gives the batch back, as the interface demands, and lets go of what crossed.
func release(handle *deltaforge_plugin_events.Batch) {
	handle.Drop()
	wit.Unpin()
}

// read is called with what crossed: from here on it lives as long as somebody refers to it.
func read[T any](value T) T {
	wit.Unpin()
	return value
}

func (b *Batch) Len() int { return int(b.handle.Len()) }

func (b *Batch) Source() deltaforge.Source {
	source := read(b.handle.Source())
	return deltaforge.Source{
		Connector: source.Connector, Pipeline: source.Pipeline, Tenant: source.Tenant, ID: source.Id,
	}
}

func (b *Batch) Tables() []deltaforge.Table {
	lent := read(b.handle.Tables())
	tables := make([]deltaforge.Table, len(lent))
	for at, table := range lent {
		columns := make([]deltaforge.Column, len(table.Columns))
		for nth, column := range table.Columns {
			columns[nth] = deltaforge.Column{
				Name: column.Name, Kind: deltaforge.Kind(column.Kind), SourceType: column.SourceType,
				Key: column.Key, Nullable: column.Nullable,
			}
		}
		tables[at] = deltaforge.Table{
			Database: table.Database, Schema: table.Schema.Some(), Name: table.Name,
			Fingerprint: table.Fingerprint, Columns: columns,
		}
	}
	return tables
}

func (b *Batch) TableOf() []uint32 { return read(b.handle.TableOf()) }

func (b *Batch) Ops() []deltaforge.Op {
	ops := read(b.handle.Ops())
	return unsafe.Slice((*deltaforge.Op)(unsafe.SliceData(ops)), len(ops))
}

func (b *Batch) Times() []int64 { return read(b.handle.Times()) }

func (b *Batch) Origin(row int) deltaforge.Origin { return origin(read(b.handle.Origin(uint32(row)))) }

func (b *Batch) Origins() []deltaforge.Origin {
	lent := read(b.handle.Origins())
	origins := make([]deltaforge.Origin, len(lent))
	for row := range lent {
		origins[row] = origin(lent[row])
	}
	return origins
}

func origin(lent deltaforge_plugin_types.Origin) deltaforge.Origin {
	return deltaforge.Origin{
		EventID: lent.EventId, Micros: lent.TsUs, Transaction: lent.Transaction.Some(),
		Ordinal: lent.Ordinal, Position: lent.Position,
	}
}

func (b *Batch) Extras(row int) deltaforge.Extras {
	lent := read(b.handle.Extras(uint32(row)))
	extras := deltaforge.Extras{
		Tags: lent.Tags, Topic: lent.Topic.Pointer(), Key: lent.Key.Pointer(),
		Message: lent.Message.Pointer(), Synthetic: lent.Synthetic.Some(),
	}
	for _, header := range lent.Headers {
		extras.Headers = append(extras.Headers, deltaforge.Header{Name: header.F0, Value: header.F1})
	}
	if ddl := lent.Ddl.Pointer(); ddl != nil {
		extras.DDL = &deltaforge.DDLStatement{SQL: ddl.F0, Database: ddl.F1}
	}
	return extras
}

func (b *Batch) TransactionEnds() []bool {
	ends := read(b.handle.TransactionEnds())
	answer := make([]bool, len(ends))
	for row, end := range ends {
		answer[row] = end != 0
	}
	return answer
}

func (b *Batch) Ints(image deltaforge.Image, column string) deltaforge.Ints {
	return deltaforge.Ints(read(b.handle.Ints(uint8(image), column)))
}

func (b *Batch) Floats(image deltaforge.Image, column string) deltaforge.Floats {
	return deltaforge.Floats(read(b.handle.Floats(uint8(image), column)))
}

func (b *Batch) Flats(image deltaforge.Image, column string) deltaforge.Flat {
	return deltaforge.Flat(read(b.handle.Flats(uint8(image), column)))
}

func (b *Batch) Column(name string) (deltaforge.ColumnID, bool) {
	column := b.handle.Column(name)
	return deltaforge.ColumnID(column.Some()), column.IsSome()
}

func (b *Batch) JSONRows(image deltaforge.Image) deltaforge.Flat {
	return deltaforge.Flat(read(b.handle.JsonRows(uint8(image))))
}

func (b *Batch) JSONOrigins() deltaforge.Flat {
	return deltaforge.Flat(read(b.handle.JsonOrigins()))
}

func (b *Batch) ToJSON() string { return read(b.handle.ToJson()) }

func (b *Batch) ReplaceJSON(events string) error {
	b.flush()
	if answer := read(b.handle.ReplaceJson(events)); answer.IsErr() {
		return errors.New(answer.Err())
	}
	return nil
}

func bytes(mask []bool) []uint8 {
	return unsafe.Slice((*uint8)(unsafe.Pointer(unsafe.SliceData(mask))), len(mask))
}

func (b *Batch) Keep(mask []bool) {
	b.flush()
	b.handle.Keep(bytes(mask))
}

func (b *Batch) Fill(image deltaforge.Image, column string, value deltaforge.Value) {
	b.flush()
	b.handle.Fill(uint8(image), column, lower(value))
}

func (b *Batch) SetInts(image deltaforge.Image, column string, values deltaforge.Ints) {
	b.flush()
	b.handle.SetInts(uint8(image), column, deltaforge_plugin_types.Ints(values))
}

func (b *Batch) SetFloats(image deltaforge.Image, column string, values deltaforge.Floats) {
	b.flush()
	b.handle.SetFloats(uint8(image), column, deltaforge_plugin_types.Floats(values))
}

func (b *Batch) SetFlats(image deltaforge.Image, column string, values deltaforge.Flat) {
	b.flush()
	b.handle.SetFlats(uint8(image), column, deltaforge_plugin_types.Flat(values))
}

func (b *Batch) RemoveColumn(column string) {
	b.flush()
	b.handle.RemoveColumn(column)
}

func (b *Batch) AddColumn(name string, kind deltaforge.Kind) deltaforge.ColumnID {
	return deltaforge.ColumnID(b.handle.AddColumn(name, string(kind)))
}

// An empty mask is every row to the host, and no row at all to a plugin whose batch has none.
func (b *Batch) TagWhere(mask []bool, tag string) {
	b.flush()
	b.handle.TagWhere(bytes(mask), tag)
}

func (b *Batch) HeaderWhere(mask []bool, name, value string) {
	b.flush()
	b.handle.HeaderWhere(bytes(mask), name, value)
}

func (b *Batch) RouteWhere(mask []bool, to deltaforge.Route) {
	b.flush()
	b.handle.RouteWhere(bytes(mask), route(to))
}

func (b *Batch) SetImage(row int, image deltaforge.Image, values deltaforge.Row) {
	b.flush()
	if values == nil {
		values = deltaforge.Row{}
	}
	b.handle.SetImage(uint32(row), uint8(image), named(values))
}

func (b *Batch) RemoveImage(row int, image deltaforge.Image) {
	b.flush()
	b.handle.SetImage(uint32(row), uint8(image), named(nil))
}

func (b *Batch) Route(row int, to deltaforge.Route) {
	b.flush()
	b.handle.Route(uint32(row), route(to))
}

func (b *Batch) Emit(event deltaforge.NewEvent) {
	b.flush()
	b.handle.Emit(deltaforge_plugin_events.NewEvent{
		At: uint32(event.At), Op: uint8(event.Op), Before: named(event.Before), After: named(event.After),
		Tags: event.Tags, Route: route(event.Route),
	})
}

func route(to deltaforge.Route) (lowered deltaforge_plugin_events.Route) {
	if to.Topic != "" {
		lowered.Topic = wit.Some(to.Topic)
	}
	if to.Key != nil {
		lowered.Key = wit.Some(*to.Key)
	}
	for _, header := range to.Headers {
		lowered.Headers = append(lowered.Headers, wit.Tuple2[string, string]{F0: header.Name, F1: header.Value})
	}
	return lowered
}

type namedValues = []wit.Tuple2[string, deltaforge_plugin_types.Value]

func named(row deltaforge.Row) wit.Option[namedValues] {
	if row == nil {
		return wit.None[namedValues]()
	}
	values := make(namedValues, len(row))
	for at, cell := range row {
		values[at] = wit.Tuple2[string, deltaforge_plugin_types.Value]{F0: cell.Column, F1: lower(cell.Value)}
	}
	return wit.Some(values)
}
