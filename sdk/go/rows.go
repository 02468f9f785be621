package deltaforge

import (
	"errors"
	"iter"
)

// Rows are some columns of every row; no names: all columns of the row's own table. They cross from the host together.
func (b *Batch) Rows(columns ...string) []RowView {
	rows := b.host.Rows(columns)
	for at := range rows {
		rows[at].index = at
	}
	return rows
}

// RowView is one row as [Batch.Rows] answers it.
type RowView struct {
	// Op is what happened.
	Op Op
	// Table is its table's index in [Batch.Tables].
	Table         int
	index         int
	before, after []Value
}

// NewRowView is for hosts. An image that is not there is nil.
func NewRowView(op Op, table int, before, after []Value) RowView {
	return RowView{Op: op, Table: table, before: before, after: after}
}

// Index is its number in the batch, as edits take it.
func (r *RowView) Index() int { return r.index }

// Has says whether the event has this image.
func (r *RowView) Has(image Image) bool {
	if image == Before {
		return r.before != nil
	}
	return r.after != nil
}

// Get is the cell of the nth column asked for; absent where there is none.
func (r *RowView) Get(image Image, nth int) Value {
	if image == Before {
		return r.Before(nth)
	}
	return r.After(nth)
}

// Before is the cell of the nth column asked for as it was; absent where there is none.
func (r *RowView) Before(nth int) Value {
	if nth < len(r.before) {
		return r.before[nth]
	}
	return Value{}
}

// After is the cell of the nth column asked for as it is now; absent where there is none.
func (r *RowView) After(nth int) Value {
	if nth < len(r.after) {
		return r.after[nth]
	}
	return Value{}
}

// Events are the events one after the other, with all columns, to look at and to edit: the easy way.
func (b *Batch) Events() iter.Seq[*Event] {
	return func(yield func(*Event) bool) {
		shared := shared{
			batch: b, tables: b.Tables(), held: map[string]ColumnID{}, added: map[string]ColumnID{},
		}
		shared.index = make([]map[string]int, len(shared.tables))
		for at := range shared.tables {
			columns := shared.tables[at].Columns
			shared.index[at] = make(map[string]int, len(columns))
			for nth := range columns {
				shared.index[at][columns[nth].Name] = nth
			}
		}
		event := Event{shared: &shared}
		for _, row := range b.Rows() {
			event.row = row
			if !yield(&event) {
				return
			}
		}
	}
}

// Event is one event of [Batch.Events]. It is lent until the next one comes.
type Event struct {
	row    RowView
	shared *shared
}

// What the events of a batch share.
type shared struct {
	batch  *Batch
	tables []Table
	// Per table, the columns by name.
	index []map[string]int
	// Columns by name: for tables that have them, and made in all that lacked them.
	held, added map[string]ColumnID
}

// Row is its number in the batch.
func (e *Event) Row() int { return e.row.index }

// Op is what happened.
func (e *Event) Op() Op { return e.row.Op }

// Table is the event's table.
func (e *Event) Table() *Table { return &e.shared.tables[e.row.Table] }

// Has says whether the event has this image.
func (e *Event) Has(image Image) bool { return e.row.Has(image) }

// Get is the cell of a column; absent where there is none.
func (e *Event) Get(image Image, column string) Value {
	if at, found := e.shared.index[e.row.Table][column]; found {
		return e.row.Get(image, at)
	}
	return Value{}
}

// Before is the cell of a column as it was; absent where there is none.
func (e *Event) Before(column string) Value { return e.Get(Before, column) }

// After is the cell of a column as it is now; absent where there is none.
func (e *Event) After(column string) Value { return e.Get(After, column) }

// Set sets one cell of an image that exists. A column that the event's table lacks is added to every table
// that lacks it, with the value's kind.
func (e *Event) Set(image Image, column string, value Value) {
	e.shared.batch.Set(e.row.index, image, e.column(column, value), value)
}

// Unset takes one column out of one image; one that the table lacks is not there anyway.
func (e *Event) Unset(image Image, column string) {
	if _, found := e.shared.index[e.row.Table][column]; found {
		e.shared.batch.Unset(e.row.index, image, e.column(column, Value{}))
	}
}

func (e *Event) column(name string, value Value) ColumnID {
	_, there := e.shared.index[e.row.Table][name]
	ids := e.shared.added
	if there {
		ids = e.shared.held
	}
	id, known := ids[name]
	if !known {
		if there {
			id, _ = e.shared.batch.Column(name)
		} else {
			kind := value.Kind()
			if value.IsNothing() {
				kind = KindAny
			}
			id = e.shared.batch.AddColumn(name, kind)
		}
		ids[name] = id
	}
	return id
}

// SetImage puts a whole image in place of the one there is, or of none.
func (e *Event) SetImage(image Image, values Row) {
	e.shared.batch.SetImage(e.row.index, image, values)
}

// RemoveImage takes an image away.
func (e *Event) RemoveImage(image Image) { e.shared.batch.RemoveImage(e.row.index, image) }

// SetOp changes what happened.
func (e *Event) SetOp(op Op) { e.shared.batch.SetOp(e.row.index, op) }

// Drop drops the event.
func (e *Event) Drop() { e.shared.batch.DropRow(e.row.index) }

// Reject takes the event out of the stream with a reason; the stage's `on_error` decides what becomes of it.
func (e *Event) Reject(reason string) { e.shared.batch.Reject(e.row.index, reason) }

// Tag adds a tag.
func (e *Event) Tag(tag string) { e.shared.batch.Tag(e.row.index, tag) }

// Header sets a header.
func (e *Event) Header(name, value string) { e.shared.batch.Header(e.row.index, name, value) }

// Route sends the event elsewhere.
func (e *Event) Route(route Route) { e.shared.batch.Route(e.row.index, route) }

// Emit adds an event right after this one; its `At` is set.
func (e *Event) Emit(event NewEvent) {
	event.At = e.row.index
	e.shared.batch.Emit(event)
}

// Origin is where the event comes from.
func (e *Event) Origin() Origin { return e.shared.batch.Origin(e.row.index) }

// Extras are the event's tags, headers, routing and the like.
func (e *Event) Extras() Extras { return e.shared.batch.Extras(e.row.index) }

// PerEvent is a processor that looks at one event after the other: the easy style. When handle returns [Reject], that
// event alone is taken out of the stream and the others go on; any other error fails the call.
func PerEvent(handle func(event *Event) error) Processor {
	return ProcessorFunc(func(batch *Batch) error {
		for event := range batch.Events() {
			if err := handle(event); err != nil {
				var rejection *Rejection
				if !errors.As(err, &rejection) {
					return err
				}
				event.Reject(rejection.Reason)
			}
		}
		return nil
	})
}
