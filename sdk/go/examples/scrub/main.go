// Scrub shows every way to touch a batch at one piece of work: it covers texts that nobody shall read, tags rows whose
// number is large, and counts a version up. The batch it leaves is the same whichever way it takes.
package main

import (
	"deltaforge"
	"deltaforge/processor"
)

// Config is what stands under `config:` in the pipeline's file.
type Config struct {
	// Redact is the column of texts that are replaced, in both images.
	Redact string `json:"redact"`
	// With is what stands there instead.
	With string `json:"with"`
	// Amount is the column whose value decides about the tag `large`.
	Amount string `json:"amount"`
	// Over is the value that is not large yet.
	Over int64 `json:"over"`
	// Version is the column that is counted up in the image after the change.
	Version string `json:"version"`
	// By is the way: `columns`, `rows`, `cells` or `events`.
	By string `json:"by"`
}

var plugin = deltaforge.NewProcessor(
	deltaforge.Manifest{Name: "scrub", Version: "1.0.0", Description: "redacts a column, tags large rows, counts versions"},
	Config{Redact: "email", With: "***", Amount: "amount", Over: 1000, Version: "version", By: "columns"},
	open,
)

func init() { processor.Export(plugin) }

func main() {}

func open(config Config) (deltaforge.Processor, error) {
	switch s := (&scrub{Config: config}); config.By {
	case "columns":
		return deltaforge.ProcessorFunc(s.columns), nil
	case "rows":
		return deltaforge.ProcessorFunc(s.rows), nil
	case "cells":
		return deltaforge.ProcessorFunc(s.cells), nil
	case "events":
		return deltaforge.PerEvent(s.event), nil
	}
	return nil, deltaforge.Fatal("`by` is columns, rows, cells or events, not %s", config.By)
}

type scrub struct {
	Config
	// Used again for every batch.
	fresh deltaforge.Flat
	mask  []bool
}

func (s *scrub) columns(batch *deltaforge.Batch) error {
	for _, image := range deltaforge.Images {
		texts := batch.Flats(image, s.Redact)
		s.fresh.Clear()
		for _, presence := range texts.Present {
			if presence == deltaforge.PresenceValue {
				s.fresh.PushText(s.With)
			} else {
				s.fresh.Push(deltaforge.PresenceNone, nil)
			}
		}
		batch.SetFlats(image, s.Redact, s.fresh)
	}
	amounts := batch.Ints(deltaforge.After, s.Amount)
	s.mask = s.mask[:0]
	for row, presence := range amounts.Present {
		s.mask = append(s.mask, presence == deltaforge.PresenceValue && amounts.Values[row] > s.Over)
	}
	batch.TagWhere(s.mask, "large")
	versions := batch.Ints(deltaforge.After, s.Version)
	for row, presence := range versions.Present {
		if presence == deltaforge.PresenceValue {
			versions.Values[row]++
		}
	}
	batch.SetInts(deltaforge.After, s.Version, versions)
	return nil
}

func (s *scrub) rows(batch *deltaforge.Batch) error {
	redact, hasRedact := batch.Column(s.Redact)
	version, hasVersion := batch.Column(s.Version)
	rows := batch.Rows(s.Redact, s.Amount, s.Version)
	for at := range rows {
		row := &rows[at]
		for _, image := range deltaforge.Images {
			if _, is := row.Get(image, 0).AsString(); is && hasRedact {
				batch.Set(at, image, redact, deltaforge.Text(s.With))
			}
		}
		if amount, is := row.After(1).AsInt64(); is && amount > s.Over {
			batch.Tag(at, "large")
		}
		if number, is := row.After(2).AsInt64(); is && hasVersion {
			batch.Set(at, deltaforge.After, version, counted(number, row.After(2)))
		}
	}
	return nil
}

func (s *scrub) cells(batch *deltaforge.Batch) error {
	redact, hasRedact := batch.Column(s.Redact)
	amount, hasAmount := batch.Column(s.Amount)
	version, hasVersion := batch.Column(s.Version)
	for row := range batch.Len() {
		if hasRedact {
			for _, image := range deltaforge.Images {
				if _, is := batch.Get(row, image, redact).AsString(); is {
					batch.Set(row, image, redact, deltaforge.Text(s.With))
				}
			}
		}
		if hasAmount {
			if value, is := batch.Get(row, deltaforge.After, amount).AsInt64(); is && value > s.Over {
				batch.Tag(row, "large")
			}
		}
		if hasVersion {
			value := batch.Get(row, deltaforge.After, version)
			if number, is := value.AsInt64(); is {
				batch.Set(row, deltaforge.After, version, counted(number, value))
			}
		}
	}
	return nil
}

func (s *scrub) event(event *deltaforge.Event) error {
	for _, image := range deltaforge.Images {
		if _, is := event.Get(image, s.Redact).AsString(); is {
			event.Set(image, s.Redact, deltaforge.Text(s.With))
		}
	}
	if amount, is := event.After(s.Amount).AsInt64(); is && amount > s.Over {
		event.Tag("large")
	}
	value := event.After(s.Version)
	if number, is := value.AsInt64(); is {
		event.Set(deltaforge.After, s.Version, counted(number, value))
	}
	return nil
}

// counted is the number after this one, of the same kind: a cell takes the kind that it is given.
func counted(number int64, held deltaforge.Value) deltaforge.Value {
	if held.Kind() == deltaforge.KindUint {
		return deltaforge.Uint(uint64(number) + 1)
	}
	return deltaforge.Int(number + 1)
}
