package cache

// A State is how a cache is at a moment, and what its store has cost it so far.
type State struct {
	Flights     int   // transfers under way
	StoreErrors int64 // writes to the store that failed, but for want of room
	Full        int64 // wishes for room that the store could not meet
	Bypassed    bool  // nothing is written to the store, after errors
}

// State is that of now.
func (c *Cache) State() State {
	c.mu.Lock()
	s := State{Flights: len(c.flights)}
	c.mu.Unlock()
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	s.StoreErrors, s.Full, s.Bypassed = c.disk.failed, c.disk.full, c.disk.errors >= diskErrors
	return s
}
