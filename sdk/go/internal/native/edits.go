package native

import (
	"math"
	"slices"
	"unicode/utf8"

	"deltaforge"
)

// edits are the events as a plugin has changed them so far.
type edits struct {
	tables []deltaforge.Table
	events []Event
	gone   []bool
	// Added events by the row that they stand behind.
	emits   [][]deltaforge.NewEvent
	fields  [][][]member
	dropped int
	rejects []Rejected
}

func newEdits(b *Batch) edits {
	now := edits{
		tables: slices.Clone(b.tables),
		events: slices.Clone(b.events),
		gone:   make([]bool, len(b.events)),
		emits:  make([][]deltaforge.NewEvent, len(b.events)),
		fields: make([][][]member, len(b.events)),
	}
	for at := range now.tables {
		now.tables[at].Columns = slices.Clone(now.tables[at].Columns)
	}
	for at := range now.events {
		event := &now.events[at]
		event.Extras = cloneExtras(event.Extras)
		event.Images = [2]Image{slices.Clone(event.Images[0]), slices.Clone(event.Images[1])}
	}
	return now
}

// row is an event that can be edited.
func (b *Batch) row(row int) *Event {
	b.editable()
	b.event(row)
	if b.edits.gone[row] {
		refuse("row %d was dropped or rejected before", row)
	}
	return &b.edits.events[row]
}

func (b *Batch) editable() {
	if b.frozen {
		refuse("a formatter cannot edit events")
	}
}

// mostColumns is how many columns a table may have.
const mostColumns = 32_767

// place is the index of a column in a table, added ones included, or -1.
func (b *Batch) place(table int, name string) int {
	if at, found := b.edits.tables[table].Column(name); found {
		return at
	}
	return -1
}

func (b *Batch) placeOrAdd(table int, name string, kind deltaforge.Kind) int {
	if at := b.place(table, name); at >= 0 {
		return at
	}
	columns := &b.edits.tables[table].Columns
	if len(*columns) >= mostColumns {
		refuse("column %s would be one more than the %d a table may have", name, mostColumns)
	}
	*columns = append(*columns, deltaforge.Column{Name: name, Kind: knownKind(kind), Nullable: true})
	return len(*columns) - 1
}

func knownKind(kind deltaforge.Kind) deltaforge.Kind {
	if !IsColumnKind(kind) {
		return deltaforge.KindAny
	}
	return kind
}

func (i *Image) set(column int, value deltaforge.Value) {
	if *i == nil {
		return // a plugin has taken it away
	}
	for len(*i) <= column {
		*i = append(*i, deltaforge.Absent())
	}
	(*i)[column] = value
}

// leaves: a setter that is given this value leaves the cell as it is.
func leaves(value deltaforge.Value) bool {
	return value.Kind() == deltaforge.KindAbsent || value.Kind() == deltaforge.KindUnavailable
}

func (b *Batch) Set(row int, image deltaforge.Image, column deltaforge.ColumnID, value deltaforge.Value) {
	if !leaves(value) {
		b.setCell(row, image, column, value)
	}
}

func (b *Batch) Unset(row int, image deltaforge.Image, column deltaforge.ColumnID) {
	b.setCell(row, image, column, deltaforge.Absent())
}

func (b *Batch) setCell(row int, image deltaforge.Image, column deltaforge.ColumnID, value deltaforge.Value) {
	event := b.row(row)
	name := b.named(column)
	at := b.place(event.Table, name)
	if at < 0 {
		refuse("the table of row %d has no column %s", row, name)
	}
	if b.events[row].Images[image] == nil {
		refuse("row %d has no %s image", row, image)
	}
	event.Images[image].set(at, value)
}

func (b *Batch) SetImage(row int, image deltaforge.Image, values deltaforge.Row) {
	event := b.row(row)
	if values == nil {
		values = deltaforge.Row{}
	}
	event.Images[image] = b.imageOf(event.Table, values)
}

// imageOf is an image by the names of its columns; nil where there is none.
func (b *Batch) imageOf(table int, values deltaforge.Row) Image {
	if values == nil {
		return nil
	}
	fresh := Image{}
	for _, cell := range values {
		fresh.set(b.placeOrAdd(table, cell.Column, deltaforge.KindAny), cell.Value)
	}
	return fresh
}

func (b *Batch) RemoveImage(row int, image deltaforge.Image) { b.row(row).Images[image] = nil }

func (b *Batch) SetOp(row int, op deltaforge.Op) { b.row(row).Op = op }

func (b *Batch) DropRow(row int) {
	b.editable()
	b.event(row)
	if !b.edits.gone[row] {
		b.edits.gone[row] = true
		b.edits.dropped++
	}
}

func (b *Batch) Reject(row int, reason string) {
	b.row(row)
	b.edits.gone[row] = true
	b.edits.rejects = append(b.edits.rejects, Rejected{row, reason})
}

func (b *Batch) Keep(mask []bool) {
	b.editable()
	if len(mask) != len(b.events) {
		refuse("keep: %d entries for %d rows", len(mask), len(b.events))
	}
	for row, keep := range mask {
		if !keep {
			b.DropRow(row)
		}
	}
}

// where calls with every event that a mask names and that is still there.
func (b *Batch) where(mask []bool, edit func(extras *deltaforge.Extras)) {
	b.editable()
	if mask != nil && len(mask) != len(b.events) {
		refuse("the mask has another length than %d rows", len(b.events))
	}
	for row := range b.edits.events {
		if (mask == nil || mask[row]) && !b.edits.gone[row] {
			edit(&b.edits.events[row].Extras)
		}
	}
}

func addTag(extras *deltaforge.Extras, tag string) {
	if !slices.Contains(extras.Tags, tag) {
		extras.Tags = append(extras.Tags, tag)
	}
}

func setHeader(extras *deltaforge.Extras, name, value string) {
	for at := range extras.Headers {
		if extras.Headers[at].Name == name {
			extras.Headers[at].Value = value
			return
		}
	}
	extras.Headers = append(extras.Headers, deltaforge.Header{Name: name, Value: value})
}

func setRoute(extras *deltaforge.Extras, route deltaforge.Route) {
	if route.Topic != "" {
		extras.Topic = &route.Topic
	}
	if route.Key != nil {
		extras.Key = route.Key
	}
	for _, header := range route.Headers {
		setHeader(extras, header.Name, header.Value)
	}
}

func (b *Batch) TagWhere(mask []bool, tag string) {
	b.where(mask, func(extras *deltaforge.Extras) { addTag(extras, tag) })
}

func (b *Batch) HeaderWhere(mask []bool, name, value string) {
	b.where(mask, func(extras *deltaforge.Extras) { setHeader(extras, name, value) })
}

func (b *Batch) RouteWhere(mask []bool, route deltaforge.Route) {
	b.where(mask, func(extras *deltaforge.Extras) { setRoute(extras, route) })
}

func (b *Batch) Tag(row int, tag string) { addTag(&b.row(row).Extras, tag) }

func (b *Batch) Header(row int, name, value string) { setHeader(&b.row(row).Extras, name, value) }

func (b *Batch) Route(row int, route deltaforge.Route) { setRoute(&b.row(row).Extras, route) }

func (b *Batch) Emit(event deltaforge.NewEvent) { b.emit(event, nil) }

func (b *Batch) emit(event deltaforge.NewEvent, fields []member) {
	b.editable()
	table := b.event(event.At).Table
	for _, image := range []deltaforge.Row{event.Before, event.After} {
		for _, cell := range image {
			b.placeOrAdd(table, cell.Column, deltaforge.KindAny)
		}
	}
	b.edits.emits[event.At] = append(b.edits.emits[event.At], event)
	b.edits.fields[event.At] = append(b.edits.fields[event.At], fields)
}

func (b *Batch) AddColumn(name string, kind deltaforge.Kind) deltaforge.ColumnID {
	b.editable()
	for at := range b.events {
		b.placeOrAdd(b.events[at].Table, name, kind)
	}
	if at := slices.Index(b.columns, name); at >= 0 {
		return deltaforge.ColumnID(at)
	}
	b.columns = append(b.columns, name)
	return deltaforge.ColumnID(len(b.columns) - 1)
}

func (b *Batch) RemoveColumn(column string) {
	for _, image := range deltaforge.Images {
		b.targets(image, column, func(_ int, cell *Image, at int, _ deltaforge.Kind) {
			cell.set(at, deltaforge.Absent())
		})
	}
}

func (b *Batch) Fill(image deltaforge.Image, column string, value deltaforge.Value) {
	b.editable()
	if leaves(value) {
		return
	}
	b.targets(image, column, func(_ int, cell *Image, at int, _ deltaforge.Kind) { cell.set(at, value) })
}

// targets calls with every cell that a setter of a column is for, and the kind that the cell should keep: the kind that
// it holds, or where it holds nothing, the declared one.
func (b *Batch) targets(
	image deltaforge.Image, column string, set func(row int, cell *Image, at int, kind deltaforge.Kind),
) {
	b.editable()
	for row := range b.events {
		event := &b.edits.events[row]
		held := b.events[row].Images[image]
		at := b.place(event.Table, column)
		if at < 0 || held == nil || b.edits.gone[row] {
			continue
		}
		kind := held.cell(at).Kind()
		if held.cell(at).IsNothing() {
			kind = b.edits.tables[event.Table].Columns[at].Kind
		}
		set(row, &event.Images[image], at, kind)
	}
}

// setColumn sets what the entries of a column say.
func (b *Batch) setColumn(
	image deltaforge.Image, column string, present []uint8, value func(row int, kind deltaforge.Kind) deltaforge.Value,
) {
	if len(present) != len(b.events) {
		refuse("column %s: the batch has %d rows", column, len(b.events))
	}
	b.targets(image, column, func(row int, cell *Image, at int, kind deltaforge.Kind) {
		switch present[row] {
		case deltaforge.PresenceNone, deltaforge.PresenceUnavailable, deltaforge.PresenceOther:
		case deltaforge.PresenceNull:
			cell.set(at, deltaforge.Null())
		case deltaforge.PresenceValue:
			cell.set(at, value(row, kind))
		default:
			refuse("row %d: %d is no presence", row, present[row])
		}
	})
}

func (b *Batch) SetInts(image deltaforge.Image, column string, values deltaforge.Ints) {
	if len(values.Values) != len(values.Present) {
		refuse("column %s: the batch has %d rows", column, len(b.events))
	}
	b.setColumn(image, column, values.Present, func(row int, kind deltaforge.Kind) deltaforge.Value {
		value := values.Values[row]
		switch kind {
		case deltaforge.KindBool:
			if value != 0 && value != 1 {
				refuse("%d is no boolean", value)
			}
			return deltaforge.Bool(value == 1)
		case deltaforge.KindDate:
			if value < math.MinInt32 || value > math.MaxInt32 {
				refuse("%d is no date", value)
			}
			return deltaforge.Date(int32(value))
		case deltaforge.KindTime:
			return deltaforge.Time(value)
		case deltaforge.KindDatetime:
			return deltaforge.Datetime(value)
		case deltaforge.KindTimestamp:
			return deltaforge.Timestamp(value)
		case deltaforge.KindUint:
			if value >= 0 {
				return deltaforge.Uint(uint64(value))
			}
		}
		return deltaforge.Int(value)
	})
}

func (b *Batch) SetFloats(image deltaforge.Image, column string, values deltaforge.Floats) {
	if len(values.Values) != len(values.Present) {
		refuse("column %s: the batch has %d rows", column, len(b.events))
	}
	b.setColumn(image, column, values.Present, func(row int, kind deltaforge.Kind) deltaforge.Value {
		if kind == deltaforge.KindFloat32 {
			return deltaforge.Float32(float32(values.Values[row]))
		}
		return deltaforge.Float64(values.Values[row])
	})
}

func (b *Batch) SetFlats(image deltaforge.Image, column string, values deltaforge.Flat) {
	if len(values.Ends) != len(values.Present) {
		refuse("column %s: the batch has %d rows", column, len(b.events))
	}
	start := uint32(0)
	for row, end := range values.Ends {
		if end < start || uint64(end) > uint64(len(values.Data)) {
			refuse("column %s: row %d lies outside its data", column, row)
		}
		start = end
	}
	b.setColumn(image, column, values.Present, func(row int, kind deltaforge.Kind) deltaforge.Value {
		bytes := values.Get(row)
		if kind == deltaforge.KindBytes {
			return deltaforge.Bytes(bytes)
		}
		if !utf8.Valid(bytes) {
			refuse("column %s: row %d is not UTF-8", column, row)
		}
		return ofText(kind, string(bytes))
	})
}

// ofText is a text as a cell of this kind, or a plain text where the kind is of no texts.
func ofText(kind deltaforge.Kind, text string) deltaforge.Value {
	switch kind {
	case deltaforge.KindDecimal:
		return deltaforge.Decimal(text)
	case deltaforge.KindJSON:
		return deltaforge.JSON(text)
	case deltaforge.KindEnum:
		return deltaforge.Enum(text)
	case deltaforge.KindSet:
		return deltaforge.Set(text)
	}
	return deltaforge.Text(text)
}

// Result is what a plugin has left: the batch as it goes on, how many events were dropped, and which were rejected.
// stage names who made the events that were added.
func (b *Batch) Result(stage string) (result *Batch, dropped int, rejects []Rejected) {
	var events []Event
	for row := range b.edits.events {
		parent := b.edits.events[row]
		if !b.edits.gone[row] {
			events = append(events, parent)
		}
		for k, added := range b.edits.emits[row] {
			event := parent
			event.ID = parent.ID.child(stage, uint32(k))
			event.Op = added.Op
			event.Images = [2]Image{b.imageOf(event.Table, added.Before), b.imageOf(event.Table, added.After)}
			event.Extras = cloneExtras(parent.Extras)
			for _, tag := range added.Tags {
				addTag(&event.Extras, tag)
			}
			setRoute(&event.Extras, added.Route)
			event.fields = append(slices.Clone(parent.fields), b.edits.fields[row][k]...)
			events = append(events, event)
		}
	}
	return New(b.Info, b.edits.tables, b.keys, events), b.edits.dropped, b.edits.rejects
}
