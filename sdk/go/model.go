package deltaforge

// Image is one of an event's two row images.
type Image uint8

const (
	// Before is the row as it was.
	Before Image = iota
	// After is the row as it is now.
	After
)

// Images are both, in the order of time.
var Images = [2]Image{Before, After}

func (i Image) String() string {
	if i == Before {
		return "before"
	}
	return "after"
}

// Op is what happened. There may be others in time than the ones named here.
type Op uint8

const (
	// Create: a row was inserted.
	Create Op = iota
	// Update: a row was changed.
	Update
	// Delete: a row was deleted.
	Delete
	// Read: a row was read by a snapshot.
	Read
	// Truncate: a table was emptied.
	Truncate
	// DDL: a table's definition was changed.
	DDL
	// Message: the application wrote a message into the log.
	Message
)

var opCodes = [...]string{"c", "u", "d", "r", "t", "ddl", "m"}

// String is the operation's code on the wire: `c`, `u`, `d`, `r`, `t`, `ddl`, `m`.
func (o Op) String() string {
	if int(o) < len(opCodes) {
		return opCodes[o]
	}
	return "?"
}

// OpFromCode is the operation with this code on the wire.
func OpFromCode(code string) (Op, bool) {
	for op, known := range opCodes {
		if known == code {
			return Op(op), true
		}
	}
	return 0, false
}

// Column is a column of a table.
type Column struct {
	Name string
	// Kind is the declared kind; a cell may hold another one.
	Kind Kind
	// SourceType is the type as the database spells it.
	SourceType string
	// Key says whether the column is part of the table's key.
	Key bool
	// Nullable says whether NULL is allowed.
	Nullable bool
}

// Table is a table of the batch, as of the events that refer to it.
type Table struct {
	// Database is the database (catalog) that the table is in.
	Database string
	// Schema is the schema inside the database; empty where the source has no such thing.
	Schema string
	// Name is the bare name.
	Name string
	// Fingerprint changes whenever the table's definition changes.
	Fingerprint uint64
	Columns     []Column
}

// Qualifier is the schema where the source knows such a thing, else the database: what stands before the dot.
func (t *Table) Qualifier() string {
	if t.Schema != "" {
		return t.Schema
	}
	return t.Database
}

// Qualified is `schema.table`, or `database.table` where the source knows no schemas.
func (t *Table) Qualified() string { return t.Qualifier() + "." + t.Name }

// Column is the index of a column.
func (t *Table) Column(name string) (index int, found bool) {
	for at := range t.Columns {
		if t.Columns[at].Name == name {
			return at, true
		}
	}
	return 0, false
}

// Source is what all events of a batch have in common.
type Source struct {
	// Connector is `mysql`, `postgresql`, `sqlite`.
	Connector string
	Pipeline  string
	Tenant    string
	// ID is the source's id in the pipeline.
	ID string
}

// Origin is where an event comes from.
type Origin struct {
	// EventID is the event's stable id, a UUID: a replay gives the same one.
	EventID string
	// Micros is the source's time of the change, in microseconds since 1970-01-01T00:00Z.
	Micros int64
	// Transaction is the source's name for its transaction (GTID, xid); empty where it knows none.
	Transaction string
	// Ordinal is its number among all rows of its transaction.
	Ordinal uint32
	// Position is the source's own number for the change.
	Position uint64
}

// Header is a header of a message.
type Header struct{ Name, Value string }

// Extras are what few events have.
type Extras struct {
	Tags    []string
	Headers []Header
	// Topic is where the event goes in place of the sink's own topic, stream, subject or URL; nil: there.
	Topic *string
	// Key is the message key in place of the sink's own; nil: that.
	Key *string
	// DDL is a statement that defines a table; nil: the event is about none.
	DDL *DDLStatement
	// Message is the content of a log message; nil: the event is none.
	Message *string
	// Synthetic says who made this event; empty: a source did.
	Synthetic string
}

// DDLStatement is a statement that defines a table.
type DDLStatement struct{ SQL, Database string }

// Route is where an event shall go; what is empty or nil stays as it is.
type Route struct {
	// Topic is a topic, stream, subject or URL.
	Topic string
	// Key is the message key; nil: as it is.
	Key *string
	// Headers are set beside those that are there.
	Headers []Header
}

// Named is a cell by the name of its column.
type Named struct {
	Column string
	Value  Value
}

// Row is a row image by the names of its columns.
type Row []Named

// NewEvent is an event to add. It takes over its row's origin, table and extras, and its id is made from that row's.
type NewEvent struct {
	// At is the row that it stands right after; it may have been dropped.
	At int
	// Op is what happened.
	Op Op
	// Before is the row as it was; nil: there is no such image.
	Before Row
	// After is the row as it is now; nil: there is no such image.
	After Row
	// Tags stand beside those that it takes over.
	Tags []string
	// Route stands over what it takes over.
	Route Route
}

// ColumnID is a column for the calls on single cells: good for every table of the batch until the call ends.
type ColumnID uint32
