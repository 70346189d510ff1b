package exchange

// A Span is the bytes [From, To) of some content.
type Span struct {
	From int64 `json:"from"`
	To   int64 `json:"to"`
}

// A Part is content that has come in part. Immutable.
type Part struct {
	Entry *Entry // of the whole; its Size is known
	Have  []Span // sorted, apart, none of them empty
}

// Missing are the spans of the whole that are not there, sorted.
func (p *Part) Missing() []Span {
	var missing []Span
	at := int64(0)
	for _, s := range p.Have {
		if at < s.From {
			missing = append(missing, Span{at, s.From})
		}
		at = s.To
	}
	if at < p.Entry.Size {
		missing = append(missing, Span{at, p.Entry.Size})
	}
	return missing
}

// Valid says that the spans are sorted, apart and within the content.
func (p *Part) Valid() bool {
	at := int64(-1) // where the last one ended
	for _, s := range p.Have {
		if s.From <= at || s.To <= s.From {
			return false
		}
		at = s.To
	}
	return p.Entry != nil && at <= p.Entry.Size
}

// A Share is what one mirror has brought of some content.
type Share struct {
	Mirror string `json:"mirror"` // base URL, as in Entry.Mirror
	Bytes  int64  `json:"bytes"`
}

// A Blend is a Body, or Ranges, whose content may come from several mirrors.
type Blend interface {
	// Shares tells who has brought how much of what was read or copied so far,
	// in no order. It may be called at any time.
	Shares() []Share
}
