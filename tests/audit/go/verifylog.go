// Verifies an audit log with Go's reference library for transparency logs, and with nothing of this project:
//
//	verifylog FOLDER VKEY [OLD_CHECKPOINT] [PROOF LEAF]...
//
// The checkpoint's signature (note), the tree from the tiles (tlog.TileHashReader checks every tile that it reads
// against the root), every entry of every bundle against its leaf hash, that the tree extends an older checkpoint, and
// c2sp.org/tlog-proof files against the leaves beside them. "-" stands for no old checkpoint.
package main

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const height = 8

type folder string

func (f folder) Height() int                                { return height }
func (f folder) SaveTiles(tiles []tlog.Tile, data [][]byte) {}
func (f folder) ReadTiles(tiles []tlog.Tile) (d [][]byte, e error) {
	for _, t := range tiles {
		// "tile/8/0/x001/067" there is "tile/0/x001/067" here: C2SP fixes the height.
		path := strings.Replace(t.Path(), fmt.Sprintf("tile/%d/", height), "tile/", 1)
		data, err := os.ReadFile(filepath.Join(string(f), path))
		if err != nil && t.W < 1<<height { // a full tile may have taken the partial one's place
			path = path[:strings.Index(path, ".p/")]
			if data, err = os.ReadFile(filepath.Join(string(f), path)); err == nil {
				data = data[:t.W*tlog.HashSize]
			}
		}
		if err != nil {
			return nil, err
		}
		d = append(d, data)
	}
	return d, nil
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func open(data []byte, verifier note.Verifier) tlog.Tree {
	opened, err := note.Open(data, note.VerifierList(verifier))
	must(err)
	lines := strings.Split(opened.Text, "\n")
	if len(lines) != 4 || lines[0] != verifier.Name() {
		log.Fatalf("not a checkpoint of %s", verifier.Name())
	}
	size, err := strconv.ParseInt(lines[1], 10, 64)
	must(err)
	hash, err := tlog.ParseHash(lines[2])
	must(err)
	return tlog.Tree{N: size, Hash: hash}
}

func bundle(root string, index, width int64) [][]byte {
	tile := tlog.Tile{H: height, L: -1, N: index, W: int(width)}
	path := strings.Replace(tile.Path(), fmt.Sprintf("tile/%d/data/", height), "tile/entries/", 1)
	data, err := os.ReadFile(filepath.Join(root, path))
	if err != nil && width < 1<<height {
		data, err = os.ReadFile(filepath.Join(root, path[:strings.Index(path, ".p/")]))
	}
	must(err)
	var entries [][]byte
	for len(data) > 0 && int64(len(entries)) < width {
		length := int(binary.BigEndian.Uint16(data))
		entries = append(entries, data[2:2+length])
		data = data[2+length:]
	}
	return entries
}

func main() {
	log.SetFlags(0)
	root, vkey := os.Args[1], strings.TrimSpace(os.Args[2])
	verifier, err := note.NewVerifier(vkey)
	must(err)
	data, err := os.ReadFile(filepath.Join(root, "checkpoint"))
	must(err)
	tree := open(data, verifier)
	hashes := tlog.TileHashReader(tree, folder(root))

	read := int64(0)
	for first := int64(0); first < tree.N; first += 1 << height {
		width := tree.N - first
		if width > 1<<height {
			width = 1 << height
		}
		entries := bundle(root, first>>height, width)
		var indexes []int64
		for i := range entries {
			indexes = append(indexes, tlog.StoredHashIndex(0, first+int64(i)))
		}
		leaves, err := hashes.ReadHashes(indexes)
		must(err)
		for i, entry := range entries {
			if tlog.RecordHash(entry) != leaves[i] {
				log.Fatalf("entry %d is not the leaf", first+int64(i))
			}
		}
		read += int64(len(entries))
	}
	if read != tree.N {
		log.Fatalf("%d entries of %d", read, tree.N)
	}

	rest := os.Args[3:]
	if len(rest) > 0 && rest[0] != "-" {
		data, err := os.ReadFile(rest[0])
		must(err)
		old := open(data, verifier)
		proof, err := tlog.ProveTree(tree.N, old.N, hashes)
		must(err)
		must(tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash))
	}
	for i := 1; i+1 < len(rest); i += 2 {
		checkProof(rest[i], rest[i+1], verifier)
	}
	fmt.Printf("OK %d %s\n", tree.N, tree.Hash)
}

func checkProof(proofPath, leafPath string, verifier note.Verifier) {
	data, err := os.ReadFile(proofPath)
	must(err)
	leaf, err := os.ReadFile(leafPath)
	must(err)
	parts := bytes.SplitN(data, []byte("\n\n"), 2)
	tree := open(parts[1], verifier)
	lines := strings.Split(string(parts[0]), "\n")
	if lines[0] != "c2sp.org/tlog-proof@v1" {
		log.Fatal("not a proof")
	}
	index, err := strconv.ParseInt(strings.TrimPrefix(lines[1], "index "), 10, 64)
	must(err)
	var proof tlog.RecordProof
	for _, line := range lines[2:] {
		var hash tlog.Hash
		decoded, err := base64.StdEncoding.DecodeString(line)
		must(err)
		copy(hash[:], decoded)
		proof = append(proof, hash)
	}
	must(tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf)))
}
