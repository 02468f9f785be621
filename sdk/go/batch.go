package deltaforge

import "bytes"

// Batch is a batch of events in commit order, lent for one call.
//
// Row numbers are those of the batch as it came, from 0. Getters answer the batch as it came: a plugin's own edits are
// not visible to it. Edits take effect together when the call has returned nil; of two edits of one cell the later wins.
// An edit that makes no sense (no such row, image or column, a row that was dropped before, buffers that do not fit)
// fails the call as a whole, as a panic does.
type Batch struct{ host Backend }

// Len is how many rows it has.
func (b *Batch) Len() int { return b.host.Len() }

// Source is what all its events have in common.
func (b *Batch) Source() Source { return b.host.Source() }

// Tables are the tables that rows refer to by index. Two versions of one table can stand side by side.
func (b *Batch) Tables() []Table { return b.host.Tables() }

// TableOf is, per row, an index into [Batch.Tables].
func (b *Batch) TableOf() []uint32 { return b.host.TableOf() }

// Ops are, per row, what happened.
func (b *Batch) Ops() []Op { return b.host.Ops() }

// Times are, per row, the source's time in microseconds since 1970-01-01T00:00Z.
func (b *Batch) Times() []int64 { return b.host.Times() }

// Origin is where a row's event comes from.
func (b *Batch) Origin(row int) Origin { return b.host.Origin(row) }

// Origins are, per row, where its event comes from.
func (b *Batch) Origins() []Origin { return b.host.Origins() }

// Extras are tags, headers, routing and the like of a row's event.
func (b *Batch) Extras(row int) Extras { return b.host.Extras(row) }

// TransactionEnds says, per row, whether its event is the last of its transaction that goes on. Only formatters are
// told; a processor sees the source's own marks.
func (b *Batch) TransactionEnds() []bool { return b.host.TransactionEnds() }

// Ints is a column of integers, and of what is one inside: booleans (0, 1), dates (days), times, datetimes and
// timestamps (microseconds).
func (b *Batch) Ints(image Image, column string) Ints { return b.host.Ints(image, column) }

// Floats is a column of floats.
func (b *Batch) Floats(image Image, column string) Floats { return b.host.Floats(image, column) }

// Flats is a column of texts, decimals, JSON, ENUM and SET labels, or bytes, in one piece.
func (b *Batch) Flats(image Image, column string) Flat { return b.host.Flats(image, column) }

// Column is a column for the calls on single cells; false: no table of the batch has it.
func (b *Batch) Column(name string) (column ColumnID, found bool) { return b.host.Column(name) }

// Get is one cell; absent where the row has no such image or column.
func (b *Batch) Get(row int, image Image, column ColumnID) Value {
	return b.host.Get(row, image, column)
}

// JSONRows is, per row, the image as a JSON object; [PresenceNone] where there is none.
func (b *Batch) JSONRows(image Image) Flat { return b.host.JSONRows(image) }

// JSONOrigins is, per row, a JSON object with all that the native envelope says beside the images.
func (b *Batch) JSONOrigins() Flat { return b.host.JSONOrigins() }

// ToJSON is the batch as a JSON array of events.
func (b *Batch) ToJSON() string { return b.host.ToJSON() }

// ReplaceJSON takes over such an array: events are found again by `event_id`, what differs is set, events that are
// missing are dropped, new ones are added after the one before them. The error says why the text is not such an array;
// nothing of it is taken over then.
func (b *Batch) ReplaceJSON(events string) error { return b.host.ReplaceJSON(events) }

// Keep drops every row whose entry is false.
func (b *Batch) Keep(mask []bool) { b.host.Keep(mask) }

// Fill sets one value in every row that has the image and the column.
func (b *Batch) Fill(image Image, column string, value Value) { b.host.Fill(image, column, value) }

// SetInts sets a column of integers, and of what is one inside: cells that held a boolean, a date and so on stay one.
func (b *Batch) SetInts(image Image, column string, values Ints) {
	b.host.SetInts(image, column, values)
}

// SetFloats sets a column of floats.
func (b *Batch) SetFloats(image Image, column string, values Floats) {
	b.host.SetFloats(image, column, values)
}

// SetFlats sets a column of texts or bytes. Cells that held a decimal, JSON or a label stay one.
func (b *Batch) SetFlats(image Image, column string, values Flat) {
	b.host.SetFlats(image, column, values)
}

// MapTexts rewrites every text of a column: change is given the text and appends what it shall become to out. Cells that
// hold no text stay as they are.
func (b *Batch) MapTexts(image Image, column string, change func(text, out []byte) []byte) {
	old := b.Flats(image, column)
	fresh := NewFlat(len(old.Present), len(old.Data))
	changed := false
	for row, presence := range old.Present {
		if presence != PresenceValue {
			fresh.Push(PresenceNone, nil)
			continue
		}
		text, start := old.Get(row), len(fresh.Data)
		fresh.Data = change(text, fresh.Data)
		if bytes.Equal(fresh.Data[start:], text) {
			fresh.Data = fresh.Data[:start]
			fresh.Push(PresenceNone, nil)
			continue
		}
		changed = true
		fresh.Push(PresenceValue, nil)
	}
	if changed {
		b.SetFlats(image, column, fresh)
	}
}

// RemoveColumn takes a column out of every row.
func (b *Batch) RemoveColumn(column string) { b.host.RemoveColumn(column) }

// AddColumn is as [Batch.Column], making the column in every table that lacks it. Its cells are absent until set.
func (b *Batch) AddColumn(name string, kind Kind) ColumnID { return b.host.AddColumn(name, kind) }

// TagWhere adds a tag to every event whose entry in mask is true; nil means every event.
func (b *Batch) TagWhere(mask []bool, tag string) { b.host.TagWhere(mask, tag) }

// HeaderWhere sets a header on every event whose entry in mask is true; nil means every event.
func (b *Batch) HeaderWhere(mask []bool, name, value string) { b.host.HeaderWhere(mask, name, value) }

// RouteWhere routes every event whose entry in mask is true; nil means every event.
func (b *Batch) RouteWhere(mask []bool, route Route) { b.host.RouteWhere(mask, route) }

// Set sets one cell of an image that exists.
func (b *Batch) Set(row int, image Image, column ColumnID, value Value) {
	b.host.Set(row, image, column, value)
}

// Unset takes one column out of one image.
func (b *Batch) Unset(row int, image Image, column ColumnID) { b.host.Unset(row, image, column) }

// SetImage puts a whole image in place of the one there is, or of none. Columns that the table lacks are added to it.
func (b *Batch) SetImage(row int, image Image, values Row) { b.host.SetImage(row, image, values) }

// RemoveImage takes an image away.
func (b *Batch) RemoveImage(row int, image Image) { b.host.RemoveImage(row, image) }

// SetOp changes what happened.
func (b *Batch) SetOp(row int, op Op) { b.host.SetOp(row, op) }

// DropRow drops an event.
func (b *Batch) DropRow(row int) { b.host.DropRow(row) }

// Reject takes an event out of the stream with a reason; the stage's `on_error` decides what becomes of it.
func (b *Batch) Reject(row int, reason string) { b.host.Reject(row, reason) }

// Tag adds a tag.
func (b *Batch) Tag(row int, tag string) { b.host.Tag(row, tag) }

// Header sets a header.
func (b *Batch) Header(row int, name, value string) { b.host.Header(row, name, value) }

// Route sends an event elsewhere.
func (b *Batch) Route(row int, route Route) { b.host.Route(row, route) }

// Emit adds an event.
func (b *Batch) Emit(event NewEvent) { b.host.Emit(event) }
