package native

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"deltaforge"
)

// ReplaceJSON turns an array of events into edits; nothing is edited when it answers an error.
func (b *Batch) ReplaceJSON(events string) (err error) {
	b.editable()
	before := b.edits.clone()
	defer func() {
		if refused, is := recover().(*Refused); is {
			err = refused
		}
		if err != nil {
			b.edits = before
		}
	}()
	var texts []json.RawMessage
	if err := json.Unmarshal([]byte(events), &texts); err != nil {
		return fmt.Errorf("read JSON: %w", err)
	}
	rows := map[string]int{}
	for row := range b.events {
		rows[b.events[row].ID.String()] = row
	}
	named := make([]bool, len(b.events))
	last := 0
	for at, text := range texts {
		if err := b.replaceOne(text, rows, named, &last); err != nil {
			return fmt.Errorf("event %d: %w", at, err)
		}
	}
	for row, named := range named {
		if !named {
			b.DropRow(row)
		}
	}
	return nil
}

func (e *edits) clone() edits {
	held := *e
	held.tables, held.events = slices.Clone(e.tables), slices.Clone(e.events)
	for at := range held.tables {
		held.tables[at].Columns = slices.Clone(held.tables[at].Columns)
	}
	for at := range held.events {
		event := &held.events[at]
		event.Images = [2]Image{slices.Clone(event.Images[0]), slices.Clone(event.Images[1])}
		event.Extras = cloneExtras(event.Extras)
		event.fields = slices.Clone(event.fields)
	}
	held.gone, held.rejects = slices.Clone(e.gone), slices.Clone(e.rejects)
	held.emits, held.fields = slices.Clone(e.emits), slices.Clone(e.fields)
	return held
}

func (b *Batch) replaceOne(text json.RawMessage, rows map[string]int, named []bool, last *int) error {
	var members Members
	if err := json.Unmarshal(text, &members); err != nil {
		return err
	}
	var id string
	if json.Unmarshal(members.get("event_id"), &id) != nil {
		if len(b.events) == 0 {
			return errors.New("there is no event that it could follow")
		}
		return b.addOne(*last, members)
	}
	row, found := rows[id]
	if !found {
		return fmt.Errorf("there is no event %q", id)
	}
	if named[row] {
		return fmt.Errorf("event %s stands there twice", id)
	}
	named[row], *last = true, row
	if bytes.Equal(b.AppendEvent(row, nil), text) {
		return nil
	}
	return b.changeOne(row, members)
}

func (b *Batch) changeOne(row int, members Members) error {
	event := b.row(row)
	held := &b.events[row]
	if raw := members.get("op"); raw != nil {
		op, err := opOf(raw)
		if err != nil {
			return err
		}
		if op != held.Op {
			event.Op = op
		}
	}
	for _, image := range deltaforge.Images {
		if err := b.changeImage(row, image, members.get(image.String())); err != nil {
			return err
		}
	}
	tags, err := tagsOf(members)
	if err != nil {
		return err
	}
	if !slices.Equal(tags, held.Extras.Tags) || (tags == nil) != (held.Extras.Tags == nil) {
		event.Extras.Tags = tags
	}
	route, err := routeOf(members)
	if err != nil {
		return err
	}
	setRoute(&event.Extras, route)
	event.fields = append(event.fields, newFields(held, members)...)
	return nil
}

func isNull(raw json.RawMessage) bool { return raw == nil || string(raw) == "null" }

func (b *Batch) changeImage(row int, image deltaforge.Image, raw json.RawMessage) error {
	event, held := b.row(row), b.events[row].Images[image]
	if isNull(raw) {
		event.Images[image] = nil
		return nil
	}
	if held == nil {
		values, err := b.valuesOf(event.Table, raw)
		event.Images[image] = b.imageOf(event.Table, values)
		return err
	}
	var members Members
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	named := make([]bool, len(b.tables[event.Table].Columns))
	for _, member := range members {
		at := b.placeOrAdd(event.Table, member.name, deltaforge.KindAny)
		if at < len(named) {
			named[at] = true
		}
		old := held.cell(at)
		if old.Kind() != deltaforge.KindAbsent && bytes.Equal(old.AppendJSON(nil), bytes.TrimSpace(member.value)) {
			continue
		}
		kind := old.Kind()
		if old.IsNothing() {
			kind = b.edits.tables[event.Table].Columns[at].Kind
		}
		value, err := Cell(member.value, kind)
		if err != nil {
			return err
		}
		event.Images[image].set(at, value)
	}
	for at, named := range named {
		if !named && held.cell(at).Kind() != deltaforge.KindAbsent {
			event.Images[image].set(at, deltaforge.Absent())
		}
	}
	return nil
}

// valuesOf reads an image; nil where there is none.
func (b *Batch) valuesOf(table int, raw json.RawMessage) (deltaforge.Row, error) {
	if isNull(raw) {
		return nil, nil
	}
	var members Members
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil, err
	}
	values := deltaforge.Row{}
	for _, member := range members {
		kind := deltaforge.KindAny
		if at := b.column(table, member.name); at >= 0 {
			kind = b.tables[table].Columns[at].Kind
		}
		value, err := Cell(member.value, kind)
		if err != nil {
			return nil, err
		}
		values = append(values, deltaforge.Named{Column: member.name, Value: value})
	}
	return values, nil
}

func (b *Batch) addOne(parent int, members Members) (err error) {
	event := deltaforge.NewEvent{At: parent}
	if raw := members.get("op"); raw != nil {
		if event.Op, err = opOf(raw); err != nil {
			return err
		}
	}
	table := b.events[parent].Table
	if event.Before, err = b.valuesOf(table, members.get("before")); err != nil {
		return err
	}
	if event.After, err = b.valuesOf(table, members.get("after")); err != nil {
		return err
	}
	if event.Tags, err = tagsOf(members); err != nil {
		return err
	}
	if event.Route, err = routeOf(members); err != nil {
		return err
	}
	b.emit(event, newFields(&b.events[parent], members))
	return nil
}

func opOf(raw json.RawMessage) (deltaforge.Op, error) {
	var code string
	if json.Unmarshal(raw, &code) == nil {
		if op, known := deltaforge.OpFromCode(code); known {
			return op, nil
		}
	}
	return 0, fmt.Errorf("%s is no operation", raw)
}

func tagsOf(members Members) (tags []string, err error) {
	if raw := members.get("tags"); raw != nil {
		if err := json.Unmarshal(raw, &tags); err != nil {
			return nil, fmt.Errorf("tags: %w", err)
		}
	}
	return tags, nil
}

func routeOf(members Members) (route deltaforge.Route, err error) {
	raw := members.get("route")
	if isNull(raw) {
		return route, nil
	}
	var parts Members
	if err := json.Unmarshal(raw, &parts); err != nil {
		return route, fmt.Errorf("route: %w", err)
	}
	for _, part := range parts {
		switch part.name {
		case "topic":
			err = json.Unmarshal(part.value, &route.Topic)
		case "key":
			err = json.Unmarshal(part.value, &route.Key)
		case "headers":
			err = routeHeaders(part.value, &route)
		default:
			err = fmt.Errorf("there is no %q", part.name)
		}
		if err != nil {
			return route, fmt.Errorf("route: %w", err)
		}
	}
	return route, nil
}

func routeHeaders(raw json.RawMessage, route *deltaforge.Route) error {
	var members Members
	if err := json.Unmarshal(raw, &members); err != nil {
		return err
	}
	for _, member := range members {
		header := deltaforge.Header{Name: member.name}
		if err := json.Unmarshal(member.value, &header.Value); err != nil || isNull(member.value) {
			return fmt.Errorf("header %s has no text", member.name)
		}
		route.Headers = append(route.Headers, header)
	}
	return nil
}

// Members that the source says, or that are taken over in another way.
var fixed = []string{
	"source", "ts_ms", "transaction", "event_id", "tenant_id", "schema_version", "ddl", "message", "synthetic", "tx_end",
	"before", "after", "op", "tags", "route",
}

// newFields are members that the event did not have, by name.
func newFields(held *Event, members Members) []member {
	var fresh []member
	for _, added := range members {
		known := Members(held.fields).get(added.name) != nil
		if !known && !slices.Contains(fixed, added.name) && !strings.Contains(added.name, ".") {
			fresh = append(fresh, added)
		}
	}
	slices.SortStableFunc(fresh, func(a, b member) int { return strings.Compare(a.name, b.name) })
	return fresh
}
