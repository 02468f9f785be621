// Package deltaforgetest runs plugins in ordinary tests: no host, no WebAssembly.
//
//	func TestPhonesAreHidden(t *testing.T) {
//		outcome, err := deltaforgetest.NewBatch().
//			Insert("shop.customers", `{"id": 1, "phone": "555-0199"}`).
//			Process(plugin, `{"column": "phone"}`)
//		if err != nil {
//			t.Fatal(err)
//		}
//		if got := outcome.After(0, "phone"); got != "###-####" {
//			t.Errorf("the phone is %v", got)
//		}
//	}
//
// [Golden] reads what goes in, and what shall come out, from files; SDKs of other languages read the same ones.
//
// A mistake in a test's own batch (an image that is no object, a column that a declared table lacks) is a panic.
package deltaforgetest

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"deltaforge"
	"deltaforge/internal/native"
)

// Batch builds a batch, event by event.
//
// Tables that are not declared with [Batch.Table] get their columns from the rows: kinds as JSON has them, and `id` as
// the key where there is such a column.
type Batch struct {
	tables []table
	events []event
}

type table struct {
	name    string
	columns []deltaforge.Column
	key     []string
}

type event struct {
	table         string
	op            deltaforge.Op
	before, after native.Members
	tags          []string
	ddl           *deltaforge.DDLStatement
	message       *string
}

// NewBatch is an empty batch.
func NewBatch() *Batch { return &Batch{} }

// Column declares a column for [Batch.Table].
type Column struct {
	Name string
	Kind deltaforge.Kind
}

// Table declares a table, `database.table`: its columns and its key columns.
func (b *Batch) Table(name string, columns []Column, key ...string) *Batch {
	declared := table{name: name, key: key}
	for _, column := range columns {
		if !native.IsColumnKind(column.Kind) {
			panic(fmt.Sprintf("%s is no kind of column", column.Kind))
		}
		declared.columns = append(declared.columns,
			deltaforge.Column{Name: column.Name, Kind: column.Kind, Nullable: true})
	}
	b.tables = append(b.tables, declared)
	return b
}

// Insert adds a created row, as a JSON object.
func (b *Batch) Insert(table, after string) *Batch {
	return b.Event(table, deltaforge.Create, "null", after)
}

// Update adds a changed row, as JSON objects.
func (b *Batch) Update(table, before, after string) *Batch {
	return b.Event(table, deltaforge.Update, before, after)
}

// Delete adds a deleted row, as a JSON object.
func (b *Batch) Delete(table, before string) *Batch {
	return b.Event(table, deltaforge.Delete, before, "null")
}

// Event adds any event; an image that is JSON `null` is not there.
func (b *Batch) Event(table string, op deltaforge.Op, before, after string) *Batch {
	next := event{table: table, op: op}
	var err error
	if next.before, err = imageOf(json.RawMessage(before)); err == nil {
		next.after, err = imageOf(json.RawMessage(after))
	}
	if err != nil {
		panic(fmt.Sprintf("an image of %s: %v", table, err))
	}
	b.events = append(b.events, next)
	return b
}

// imageOf reads a row image; nil where there is none.
func imageOf(raw json.RawMessage) (native.Members, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return nil, nil
	}
	members := native.Members{}
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	return members, nil
}

// A batch as a file holds it.
type document struct {
	About  json.RawMessage `json:"about"` // for people
	Tables []struct {
		Name    string      `json:"name"`
		Columns [][2]string `json:"columns"`
		Key     []string    `json:"key"`
	} `json:"tables"`
	Events []struct {
		Table  string          `json:"table"`
		Op     string          `json:"op"`
		Before json.RawMessage `json:"before"`
		After  json.RawMessage `json:"after"`
		Tags   []string        `json:"tags"`
		DDL    *[2]string      `json:"ddl"`
		// The content of a log message.
		Message *string `json:"message"`
	} `json:"events"`
}

// FromJSON reads a batch from JSON: `tables` (`name`, `columns` as pairs of name and kind, `key`) and `events` (`table`,
// `op` as on the wire, and where there are any `before`, `after`, `tags`, `message`, `ddl` as statement and database).
func FromJSON(text string) (*Batch, error) {
	var held document
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&held); err != nil {
		return nil, err
	}
	batch := NewBatch()
	for _, declared := range held.Tables {
		var columns []Column
		for _, column := range declared.Columns {
			if !native.IsColumnKind(deltaforge.Kind(column[1])) {
				return nil, fmt.Errorf("%s is no kind of column", column[1])
			}
			columns = append(columns, Column{column[0], deltaforge.Kind(column[1])})
		}
		batch.Table(declared.Name, columns, declared.Key...)
	}
	for at, shown := range held.Events {
		op, known := deltaforge.OpFromCode(shown.Op)
		if !known {
			return nil, fmt.Errorf("event %d: %q is no operation", at, shown.Op)
		}
		next := event{table: shown.Table, op: op, tags: shown.Tags, message: shown.Message}
		if shown.DDL != nil {
			next.ddl = &deltaforge.DDLStatement{SQL: shown.DDL[0], Database: shown.DDL[1]}
		}
		var err error
		if next.before, err = imageOf(shown.Before); err != nil {
			return nil, fmt.Errorf("event %d: before: %w", at, err)
		}
		if next.after, err = imageOf(shown.After); err != nil {
			return nil, fmt.Errorf("event %d: after: %w", at, err)
		}
		batch.events = append(batch.events, next)
	}
	return batch, nil
}

// build makes the batch as the host would hold it.
func (b *Batch) build() (*native.Batch, error) {
	info := native.Info{
		Source:       deltaforge.Source{Connector: "test", Pipeline: "test", Tenant: "acme", ID: "test"},
		Version:      "deltaforge-test",
		PositionName: "sequence",
	}
	var names []string
	var tables []deltaforge.Table
	var keys [][]string
	events := make([]native.Event, len(b.events))
	for at := range b.events {
		shown := &b.events[at]
		number := slices.Index(names, shown.table)
		if number < 0 {
			number = len(names)
			declared, key := b.schema(shown.table)
			names, tables, keys = append(names, shown.table), append(tables, declared), append(keys, key)
		}
		micros := int64(1_700_000_000_000_000 + at*1_000)
		made := native.Event{
			ID:          native.DeriveID(micros/1000, binary.LittleEndian.AppendUint64(nil, uint64(at))),
			Op:          shown.op,
			Table:       number,
			Micros:      micros,
			Transaction: "tx-1",
			Ordinal:     uint32(at),
			Position:    uint64(at) + 1,
			Last:        at+1 == len(b.events),
			Extras:      deltaforge.Extras{Tags: shown.tags, DDL: shown.ddl, Message: shown.message},
		}
		for image, members := range [2]native.Members{shown.before, shown.after} {
			cells, err := cells(&tables[number], members)
			if err != nil {
				return nil, fmt.Errorf("event %d: %w", at, err)
			}
			made.Images[image] = cells
		}
		events[at] = made
	}
	return native.New(info, tables, keys, events), nil
}

// cells is a row image; nil where there is none.
func cells(table *deltaforge.Table, members native.Members) (image native.Image, err error) {
	if members == nil {
		return nil, nil
	}
	image = make(native.Image, len(table.Columns))
	members.Each(func(name string, raw json.RawMessage) {
		column, found := table.Column(name)
		if !found {
			err = fmt.Errorf("%s has no column %s", table.Qualified(), name)
			return
		}
		value, problem := native.CellOrNamed(raw, table.Columns[column].Kind)
		if problem != nil {
			err = problem
		}
		image[column] = value
	})
	return image, err
}

func (b *Batch) schema(name string) (deltaforge.Table, []string) {
	database, bare, qualified := strings.Cut(name, ".")
	if !qualified {
		database, bare = "main", name
	}
	made := deltaforge.Table{Database: database, Name: bare}
	for _, declared := range b.tables {
		if declared.name == name {
			made.Columns = slices.Clone(declared.columns)
			return made, declared.key
		}
	}
	for _, shown := range b.events {
		if shown.table != name {
			continue
		}
		for _, members := range []native.Members{shown.before, shown.after} {
			members.Each(func(name string, raw json.RawMessage) {
				kind := native.KindOf(raw)
				at, found := made.Column(name)
				switch {
				case !found:
					made.Columns = append(made.Columns, deltaforge.Column{Name: name, Kind: kind, Nullable: true})
				case made.Columns[at].Kind == deltaforge.KindAny:
					made.Columns[at].Kind = kind
				}
			})
		}
	}
	return made, []string{"id"}
}

// Process opens a processor with a configuration in JSON, shows it the batch and applies what it changes. The error is
// the plugin's own, or tells of an edit that makes no sense.
func (b *Batch) Process(plugin *deltaforge.ProcessorPlugin, config string) (*Outcome, error) {
	processor, err := plugin.Open(config)
	if err != nil {
		return nil, err
	}
	return b.ProcessWith(processor)
}

// ProcessWith is as [Batch.Process], with a processor that is open already.
func (b *Batch) ProcessWith(processor deltaforge.Processor) (*Outcome, error) {
	batch, err := b.build()
	if err != nil {
		return nil, err
	}
	if err := call(func() error { return processor.Process(deltaforge.NewBatch(batch)) }); err != nil {
		return nil, err
	}
	result, dropped, rejects := batch.Result("test")
	return &Outcome{batch: result, dropped: dropped, rejects: rejects}, nil
}

// Format opens a formatter with a configuration in JSON and makes the bodies of the batch.
func (b *Batch) Format(plugin *deltaforge.FormatterPlugin, config string) (*deltaforge.Bodies, error) {
	formatter, err := plugin.Open(config)
	if err != nil {
		return nil, err
	}
	batch, err := b.build()
	if err != nil {
		return nil, err
	}
	bodies := &deltaforge.Bodies{}
	err = call(func() error { return formatter.Format(deltaforge.NewBatch(batch.Freeze()), bodies) })
	if err == nil && bodies.Len() != batch.Len() {
		err = fmt.Errorf("the formatter made %d bodies for %d rows", bodies.Len(), batch.Len())
	}
	if err != nil {
		return nil, err
	}
	return bodies, nil
}

// call makes an edit that makes no sense an error; it is a trap in a component.
func call(plugin func() error) (err error) {
	defer func() {
		switch problem := recover().(type) {
		case nil:
		case *native.Refused:
			err = problem
		default:
			panic(problem)
		}
	}()
	return plugin()
}

// Outcome is what a processor has left.
type Outcome struct {
	batch   *native.Batch
	dropped int
	rejects []native.Rejected
}

// Events are the events that go on, in the native form.
func (o *Outcome) Events() []json.RawMessage {
	var events []json.RawMessage
	for _, event := range o.batch.Events() {
		events = append(events, event)
	}
	return events
}

// Len is how many events go on.
func (o *Outcome) Len() int { return o.batch.Len() }

// Batch is what goes on, as a plugin would see it.
func (o *Outcome) Batch() *deltaforge.Batch { return deltaforge.NewBatch(o.batch) }

// Get is one cell of an event that goes on; absent where it has no such image or column.
func (o *Outcome) Get(row int, image deltaforge.Image, column string) deltaforge.Value {
	batch := o.Batch()
	id, found := batch.Column(column)
	if !found {
		return deltaforge.Absent()
	}
	return batch.Get(row, image, id)
}

// After is the JSON form of a cell as it is now, a string without its quotes; empty where there is none.
func (o *Outcome) After(row int, column string) string {
	return shown(o.Get(row, deltaforge.After, column))
}

// Before is the JSON form of a cell as it was, a string without its quotes; empty where there is none.
func (o *Outcome) Before(row int, column string) string {
	return shown(o.Get(row, deltaforge.Before, column))
}

func shown(value deltaforge.Value) string {
	if value.Kind() == deltaforge.KindAbsent {
		return ""
	}
	if text, is := value.AsString(); is {
		return text
	}
	return strings.Trim(value.ToJSON(), `"`)
}

// Tags are the tags of an event that goes on.
func (o *Outcome) Tags(row int) []string { return o.batch.Extras(row).Tags }

// Dropped is how many events were dropped.
func (o *Outcome) Dropped() int { return o.dropped }

// Rejects are the reasons of the events that were rejected, in order.
func (o *Outcome) Rejects() []string {
	var reasons []string
	for _, reject := range o.rejects {
		reasons = append(reasons, reject.Reason)
	}
	return reasons
}
