package deltaforge

// Bodies are the message bodies that a formatter makes, one a row, in order.
type Bodies struct {
	flat    Flat
	rejects []Rejected
}

// Rejected is a row that cannot be written.
type Rejected struct {
	Row    int
	Reason string
}

// Push appends the next row's body: write appends its bytes to the buffer that it is given and answers it.
func (b *Bodies) Push(write func(out []byte) []byte) {
	b.flat.Data = write(b.flat.Data)
	b.flat.Push(PresenceValue, nil)
}

// PushAbsent: the next row has a message without a body (a tombstone).
func (b *Bodies) PushAbsent() { b.flat.Push(PresenceNull, nil) }

// Reject: the next row cannot be written.
func (b *Bodies) Reject(reason string) {
	b.rejects = append(b.rejects, Rejected{b.Len(), reason})
	b.flat.Push(PresenceNone, nil)
}

// Clear takes all bodies out and keeps the room, for the next batch.
func (b *Bodies) Clear() {
	b.flat.Clear()
	b.rejects = b.rejects[:0]
}

// Len is how many rows have been answered.
func (b *Bodies) Len() int { return len(b.flat.Present) }

// Get is a row's body; nil: it has none.
func (b *Bodies) Get(row int) []byte {
	if b.flat.Present[row] != PresenceValue {
		return nil
	}
	return b.flat.Get(row)
}

// Rejects are the rows that cannot be written.
func (b *Bodies) Rejects() []Rejected { return b.rejects }

// Flat is all of them in one piece, as the host takes them.
func (b *Bodies) Flat() *Flat { return &b.flat }

// JSONEvents are the events of a batch as ready-made JSON in the native form: what a formatter wants.
type JSONEvents struct{ before, after, origins Flat }

// JSONEvents are the events as ready-made JSON, row by row.
func (b *Batch) JSONEvents() *JSONEvents {
	return &JSONEvents{b.JSONRows(Before), b.JSONRows(After), b.JSONOrigins()}
}

// Append appends a row's whole event as an object.
func (e *JSONEvents) Append(row int, out []byte) []byte {
	out = append(out, `{"before":`...)
	out = e.imageOrNull(row, Before, out)
	out = append(out, `,"after":`...)
	out = e.imageOrNull(row, After, out)
	out = append(out, ',')
	// An origin is an object and never empty: its members follow.
	return append(out, e.origins.Get(row)[1:]...)
}

func (e *JSONEvents) imageOrNull(row int, image Image, out []byte) []byte {
	out, there := e.AppendImage(row, image, out)
	if !there {
		out = append(out, "null"...)
	}
	return out
}

// AppendImage appends one of a row's images as an object; it answers false, and appends nothing, where there is none.
func (e *JSONEvents) AppendImage(row int, image Image, out []byte) (longer []byte, there bool) {
	flat := &e.before
	if image == After {
		flat = &e.after
	}
	if flat.Present[row] != PresenceValue {
		return out, false
	}
	return append(out, flat.Get(row)...), true
}
