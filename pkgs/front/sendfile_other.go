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

func (*conn) sendFile(*TableOptions, []byte, *descriptor, stretch) error {
	return errors.ErrUnsupported
}

func sends(net.Conn) bool { return false }

type socket struct{}

func newSocket(net.Conn) *socket                        { return nil }
func (*socket) Read([]byte) (int, error)                { return 0, errors.ErrUnsupported }
func (*socket) push(head, body []byte, flags int) error { return errors.ErrUnsupported }
