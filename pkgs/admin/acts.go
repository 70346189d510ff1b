package admin

import (
	"net/http"
)

// A Level is how much is logged. Set takes the names that Get has.
type Level struct {
	Get func() string
	Set func(string) error
}

// An Offline is the switch that makes hubs serve only what is here: hub "" is all
// of them. What Set says holds until the process ends.
type Offline struct {
	Get func() OfflineState
	Set func(hub string, offline bool) error
}

// An OfflineState says which hubs ask no mirrors.
type OfflineState struct {
	All  bool            `json:"all"`
	Hubs map[string]bool `json:"hubs"` // of each hub, whether it does: all, or its own switch
}

// LevelValue is the JSON of a level.
type LevelValue struct {
	Level string `json:"level"`
}

// OfflineValue is the JSON of the switch.
type OfflineValue struct {
	Offline bool `json:"offline"`
}

// acts are what can be done.
func (o *Options) acts() (all []Route) {
	if l := o.Level; l != nil {
		all = append(all,
			Route{Pattern: "GET /api/v1/log/level", About: "how much is logged", Answer: LevelValue{}, Handler: answer(func(*http.Request) (any, error) {
				return LevelValue{l.Get()}, nil
			})},
			Route{Pattern: "PUT /api/v1/log/level", About: "logs more or less, until the configuration is read again", Body: LevelValue{}, Answer: LevelValue{}, Handler: answer(func(r *http.Request) (any, error) {
				v, err := brought[LevelValue](r)
				if err != nil {
					return nil, err
				}
				if err := l.Set(v.Level); err != nil {
					return nil, wrong("level: %v", err)
				}
				o.Log.Info("log level set by an operator", "level", l.Get())
				return LevelValue{l.Get()}, nil
			})})
	}
	if s := o.Offline; s != nil {
		all = append(all,
			Route{Pattern: "GET /api/v1/offline", About: "which hubs serve only what is here", Answer: OfflineState{}, Handler: answer(func(*http.Request) (any, error) {
				return s.Get(), nil
			})},
			Route{Pattern: "PUT /api/v1/offline", About: "makes all hubs, or one, serve only what is here, or ask mirrors again; until the process ends", Query: []Param{{"hub", "this one alone", false}}, Body: OfflineValue{}, Answer: OfflineState{}, Handler: answer(func(r *http.Request) (any, error) {
				v, err := brought[OfflineValue](r)
				if err != nil {
					return nil, err
				}
				hub := r.URL.Query().Get("hub")
				if err := s.Set(hub, v.Offline); err != nil {
					return nil, err
				}
				o.Log.Info("offline set by an operator", "hub", hub, "offline", v.Offline)
				return s.Get(), nil
			})})
	}
	if o.Reload != nil {
		all = append(all, Route{Pattern: "POST /api/v1/reload", About: "reads the configuration again, and puts it in force whole or not at all", Handler: answer(func(r *http.Request) (any, error) {
			return o.Reload(r.Context())
		})})
	}
	if o.Drain != nil {
		all = append(all, Route{Pattern: "POST /api/v1/drain", About: "takes no more requests, and ends the process when those under way are done", Answer: accepted{}, Handler: answer(func(*http.Request) (any, error) {
			o.Log.Info("drain asked for by an operator")
			o.Drain()
			return accepted{true}, nil
		})})
	}
	return all
}
