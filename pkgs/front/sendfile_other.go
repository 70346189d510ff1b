//go:build !linux

package front

import (
	"errors"
	"net"
	"syscall"
)

// Elsewhere large files are net/http's to send.
const canSend = false

type descriptor struct{}

func share(syscall.Conn) (*descriptor, error) { return nil, errors.ErrUnsupported }
func (*descriptor) hold() bool                { return false }
func (*descriptor) drop()                     {}

func (*conn) sendFile(*TableOptions, []byte, *descriptor, int64) error { return errors.ErrUnsupported }

func sends(net.Conn) bool { return false }

type pusher struct{}

func newPusher(net.Conn) *pusher    { return nil }
func (*pusher) push(b []byte) error { return errors.ErrUnsupported }
