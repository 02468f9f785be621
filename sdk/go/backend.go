package deltaforge

// Backend is the host's side of a batch: the calls of a component, or a test's memory. A plugin's author has no use for
// it; [Batch] says what its methods mean.
type Backend interface {
	Len() int
	Source() Source
	Tables() []Table
	TableOf() []uint32
	Ops() []Op
	Times() []int64
	Origin(row int) Origin
	Origins() []Origin
	Extras(row int) Extras
	TransactionEnds() []bool

	Ints(image Image, column string) Ints
	Floats(image Image, column string) Floats
	Flats(image Image, column string) Flat
	Rows(columns []string) []RowView
	Column(name string) (ColumnID, bool)
	Get(row int, image Image, column ColumnID) Value

	JSONRows(image Image) Flat
	JSONOrigins() Flat
	ToJSON() string
	ReplaceJSON(events string) error

	Keep(mask []bool)
	Fill(image Image, column string, value Value)
	SetInts(image Image, column string, values Ints)
	SetFloats(image Image, column string, values Floats)
	SetFlats(image Image, column string, values Flat)
	RemoveColumn(column string)
	AddColumn(name string, kind Kind) ColumnID
	TagWhere(mask []bool, tag string)
	HeaderWhere(mask []bool, name, value string)
	RouteWhere(mask []bool, route Route)

	Set(row int, image Image, column ColumnID, value Value)
	Unset(row int, image Image, column ColumnID)
	SetImage(row int, image Image, values Row)
	RemoveImage(row int, image Image)
	SetOp(row int, op Op)
	DropRow(row int)
	Reject(row int, reason string)
	Tag(row int, tag string)
	Header(row int, name, value string)
	Route(row int, route Route)
	Emit(event NewEvent)
}

// NewBatch shows a plugin a batch. A plugin's author has no use for it.
func NewBatch(backend Backend) *Batch { return &Batch{backend} }
