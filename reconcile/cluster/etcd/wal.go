package etcd

import (
	"encoding/binary"
	"errors"

	"google.golang.org/protobuf/encoding/protowire"
)

// HeadSize is how much of the first WAL file Identify needs: the record of the
// membership is at the beginning of every one, behind a checksum record of a
// few bytes.
const HeadSize = 4 << 10

// Identity is the membership that a data directory belongs to.
type Identity struct {
	ClusterID uint64
	MemberID  uint64
}

// ErrNoIdentity is a WAL that does not say whose it is: empty, or damaged.
var ErrNoIdentity = errors.New("does not begin like a write-ahead log of etcd")

// The parts of etcd's WAL format that are read here: frames of a length and a
// walpb.Record. etcd's own reader comes only with all of its server.
const (
	frameLength  = 8
	lengthMask   = 1<<56 - 1
	padding      = 1 << 63 // set if there is some; its size is in the three bits from 56
	metadataType = 1       // holds an etcdserverpb.Metadata
)

// Identify reads whose data a WAL file holds from its beginning. Nothing needs
// to be locked: these bytes are written once, before the file gets its name.
func Identify(head []byte) (Identity, error) {
	for len(head) >= frameLength {
		frame := binary.LittleEndian.Uint64(head)
		head = head[frameLength:]
		size, pad := frame&lengthMask, uint64(0)
		if frame&padding != 0 {
			pad = frame >> 56 & 0x7
		}
		if size == 0 || size > uint64(len(head)) {
			break
		}
		record := fields(head[:size])
		if record == nil {
			break
		}
		if record[1].number == metadataType {
			if m := fields(record[3].bytes); m[1].number != 0 && m[2].number != 0 {
				return Identity{MemberID: m[1].number, ClusterID: m[2].number}, nil
			}
			break
		}
		head = head[min(size+pad, uint64(len(head))):]
	}
	return Identity{}, ErrNoIdentity
}

type field struct {
	number uint64
	bytes  []byte
}

// fields are the fields of a protocol buffers message by their number; nil if it
// is none.
func fields(message []byte) map[protowire.Number]field {
	out := map[protowire.Number]field{}
	for len(message) > 0 {
		num, typ, n := protowire.ConsumeTag(message)
		if n < 0 {
			return nil
		}
		message = message[n:]
		var f field
		switch typ {
		case protowire.VarintType:
			f.number, n = protowire.ConsumeVarint(message)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(message)
		default:
			n = protowire.ConsumeFieldValue(num, typ, message)
		}
		if n < 0 {
			return nil
		}
		out[num] = f
		message = message[n:]
	}
	return out
}
