package native

import (
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"deltaforge"
)

// AppendEvent appends an event in the native form.
func (b *Batch) AppendEvent(row int, out []byte) []byte {
	event := &b.events[row]
	out = append(out, `{"before":`...)
	out = b.appendImage(event, deltaforge.Before, out)
	out = append(out, `,"after":`...)
	out = b.appendImage(event, deltaforge.After, out)
	out = append(out, ',')
	return append(out, b.origin(event)[1:]...)
}

// Events are all events in the native form.
func (b *Batch) Events() [][]byte {
	events := make([][]byte, len(b.events))
	for row := range b.events {
		events[row] = b.AppendEvent(row, nil)
	}
	return events
}

func (b *Batch) appendImage(event *Event, image deltaforge.Image, out []byte) []byte {
	held := event.Images[image]
	if held == nil {
		return append(out, "null"...)
	}
	out = append(out, '{')
	first := true
	for at, column := range b.tables[event.Table].Columns {
		value := held.cell(at)
		if value.Kind() == deltaforge.KindAbsent {
			continue
		}
		if !first {
			out = append(out, ',')
		}
		first = false
		out = append(deltaforge.AppendJSONString(out, column.Name), ':')
		out = value.AppendJSON(out)
	}
	return append(out, '}')
}

// origin is all of an event but its images, as an object.
func (b *Batch) origin(event *Event) []byte {
	table := &b.tables[event.Table]
	out := []byte("{")
	name := func(name string) {
		if last := out[len(out)-1]; last != '{' {
			out = append(out, ',')
		}
		out = append(deltaforge.AppendJSONString(out, name), ':')
	}
	text := func(key, value string) {
		name(key)
		out = deltaforge.AppendJSONString(out, value)
	}
	millis := func() {
		name("ts_ms")
		out = strconv.AppendInt(out, floorMillis(event.Micros), 10)
	}
	name("source")
	out = append(out, '{')
	text("version", b.Info.Version)
	text("connector", b.Info.Connector)
	text("name", b.Info.Pipeline)
	millis()
	text("db", table.Database)
	if table.Schema != "" {
		text("schema", table.Schema)
	}
	text("table", table.Name)
	if b.Info.PositionName != "" {
		name(b.Info.PositionName)
		out = strconv.AppendUint(out, event.Position, 10)
	}
	out = append(out, '}')
	text("op", event.Op.String())
	millis()
	if event.Transaction != "" {
		name("transaction")
		out = append(out, '{')
		text("id", event.Transaction)
		out = append(out, '}')
	}
	text("event_id", event.ID.String())
	if b.Info.Tenant != "" {
		text("tenant_id", b.Info.Tenant)
	}
	text("schema_version", hex.EncodeToString(binary.BigEndian.AppendUint64(nil, table.Fingerprint)))
	if ddl := event.Extras.DDL; ddl != nil {
		name("ddl")
		out = append(out, '{')
		text("sql", ddl.SQL)
		text("database", ddl.Database)
		out = append(out, '}')
	}
	if event.Extras.Message != nil {
		name("message")
		out = deltaforge.JSON(*event.Extras.Message).AppendJSON(out)
	}
	if event.Extras.Tags != nil {
		name("tags")
		out = append(out, '[')
		for at, tag := range event.Extras.Tags {
			if at > 0 {
				out = append(out, ',')
			}
			out = deltaforge.AppendJSONString(out, tag)
		}
		out = append(out, ']')
	}
	if event.Extras.Synthetic != "" {
		text("synthetic", event.Extras.Synthetic)
	}
	if event.Last {
		name("tx_end")
		out = append(out, "true"...)
	}
	for _, field := range event.fields {
		name(field.name)
		out = deltaforge.JSON(string(field.value)).AppendJSON(out)
	}
	return append(out, '}')
}

// floorMillis are the whole milliseconds, counted down where the time is before 1970.
func floorMillis(micros int64) int64 {
	millis := micros / 1000
	if micros%1000 < 0 {
		millis--
	}
	return millis
}

func (b *Batch) JSONRows(image deltaforge.Image) (flat deltaforge.Flat) {
	for row := range b.events {
		event := &b.events[row]
		if event.Images[image] == nil {
			flat.Push(deltaforge.PresenceNone, nil)
			continue
		}
		flat.Push(deltaforge.PresenceValue, b.appendImage(event, image, nil))
	}
	return flat
}

func (b *Batch) JSONOrigins() (flat deltaforge.Flat) {
	for row := range b.events {
		flat.Push(deltaforge.PresenceValue, b.origin(&b.events[row]))
	}
	return flat
}

func (b *Batch) ToJSON() string {
	out := []byte("[")
	for row := range b.events {
		if row > 0 {
			out = append(out, ',')
		}
		out = b.AppendEvent(row, out)
	}
	return string(append(out, ']'))
}
