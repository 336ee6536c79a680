package executions

import (
	"encoding/binary"
	"hash/fnv"
	"slices"
	"strconv"
)

// DrawerSize is how many executions one Drawer is of.
const DrawerSize = 4096

// Drawer says where in the archive the executions of an owner with successive numbers are.
type Drawer struct {
	// Runs are of executions that lie behind one another in the archive as they do in numbers: each goes up
	// to the next, the last to the end.
	Runs []DrawerRun `json:"runs"`
	// IDs has idBytes for each number from the drawer's first on: a hash of the execution's id, or zeros where
	// nothing is known.
	IDs []byte `json:"ids"`
}

// DrawerRun is the place in the drawer and the sequence in the archive of the first of a run.
type DrawerRun struct {
	Place    int    `json:"place"`
	Sequence uint64 `json:"sequence"`
}

const idBytes = 4

// DrawerKey is the key of the drawer that a number is in.
func DrawerKey(owner string, number int64) string {
	return "drawer." + owner + "." + strconv.FormatInt((number-1)/DrawerSize, 10)
}

// DrawerFirst is the first number of the drawer that a number is in.
func DrawerFirst(number int64) int64 { return number - (number-1)%DrawerSize }

// Sequence returns where in the archive the n-th execution of the drawer is, from 0; 0 if it is not known.
func (d Drawer) Sequence(n int) uint64 {
	if n < 0 || (n+1)*idBytes > len(d.IDs) || binary.LittleEndian.Uint32(d.IDs[n*idBytes:]) == 0 {
		return 0
	}
	i, _ := slices.BinarySearchFunc(d.Runs, n+1, func(r DrawerRun, place int) int { return r.Place - place })
	if i == 0 {
		return 0
	}
	run := d.Runs[i-1]
	return run.Sequence + uint64(n-run.Place)
}

// Find returns the places of those that may have the id, the highest first.
func (d Drawer) Find(id string) (places []int) {
	hash := idHash(id)
	for n := len(d.IDs)/idBytes - 1; n >= 0; n-- {
		if binary.LittleEndian.Uint32(d.IDs[n*idBytes:]) == hash {
			places = append(places, n)
		}
	}
	return places
}

// with returns the drawer with one more execution, whose number is higher than all before. The drawer
// itself stays as it was; only one successor may be made of it.
func (d Drawer) with(number int64, id string, sequence uint64) Drawer {
	place := int((number - 1) % DrawerSize)
	d.IDs = append(d.IDs, make([]byte, place*idBytes-len(d.IDs))...)
	d.IDs = binary.LittleEndian.AppendUint32(d.IDs, idHash(id))
	if n := len(d.Runs); n == 0 || d.Runs[n-1].Sequence+uint64(place-d.Runs[n-1].Place) != sequence {
		d.Runs = append(d.Runs, DrawerRun{Place: place, Sequence: sequence})
	}
	return d
}

// idHash is never 0.
func idHash(id string) uint32 {
	h := fnv.New32a()
	h.Write([]byte(id))
	return max(h.Sum32(), 1)
}

// Drawers says which ids the drawers of an owner have, so that one is found without looking into all: ids
// begin with the time at which they were made, and mostly come in that order.
type Drawers struct {
	// IDs are the lowest and the highest of each drawer, from the first on; empty where there are none.
	IDs [][2]string `json:"ids"`
}

// DrawersKey is the key of an owner's Drawers.
func DrawersKey(owner string) string { return "drawers." + owner }

// May returns the first numbers of the drawers that may have the id, the highest first.
func (d Drawers) May(id string) (firsts []int64) {
	for i, of := range slices.Backward(d.IDs) {
		if of[0] != "" && of[0] <= id && id <= of[1] {
			firsts = append(firsts, int64(i)*DrawerSize+1)
		}
	}
	return firsts
}

// with returns them with one more id. They themselves stay as they were.
func (d Drawers) with(number int64, id string) Drawers {
	i := int((number - 1) / DrawerSize)
	ids := d.grown(i)
	if ids[i][0] == "" || id < ids[i][0] {
		ids[i][0] = id
	}
	ids[i][1] = max(ids[i][1], id)
	return Drawers{ids}
}

// without returns them without the ids of the drawers up to the one with the number.
func (d Drawers) without(number int64) Drawers {
	i := int((number - 1) / DrawerSize)
	ids := d.grown(i)
	clear(ids[:i+1])
	return Drawers{ids}
}

// grown is a copy that reaches to the i-th drawer at least.
func (d Drawers) grown(i int) [][2]string {
	ids := make([][2]string, max(len(d.IDs), i+1))
	copy(ids, d.IDs)
	return ids
}
