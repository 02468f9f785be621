// Package xxh3 is XXH3 without a seed, of 64 and of 128 bits, as the specification of xxHash has it. The host makes
// event ids and fingerprints of tables with it; a test's batch has the same.
package xxh3

import (
	"encoding/binary"
	"math/bits"
)

const (
	prime32x1 = 0x9E3779B1
	prime32x2 = 0x85EBCA77
	prime32x3 = 0xC2B2AE3D
	prime64x1 = 0x9E3779B185EBCA87
	prime64x2 = 0xC2B2AE3D27D4EB4F
	prime64x3 = 0x165667B19E3779F9
	prime64x4 = 0x85EBCA77C2B2AE63
	prime64x5 = 0x27D4EB2F165667C5
	mix1      = 0x165667919E3779F9
	mix2      = 0x9FB21C651E98DF25
)

const (
	stripe    = 64
	secretMin = 136
	middle    = 240
)

// The specification's default secret.
var secret = [192]byte{
	0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c, 0xf7, 0x21, 0xad, 0x1c,
	0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb, 0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f,
	0xcb, 0x79, 0xe6, 0x4e, 0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
	0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6, 0x81, 0x3a, 0x26, 0x4c,
	0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb, 0x88, 0xd0, 0x65, 0x8b, 0x1b, 0x53, 0x2e, 0xa3,
	0x71, 0x64, 0x48, 0x97, 0xa2, 0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8,
	0xa8, 0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7, 0x0b, 0x4f, 0x1d,
	0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8, 0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64,
	0xea, 0xc5, 0xac, 0x83, 0x34, 0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb,
	0x17, 0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29, 0xd4, 0x68, 0x9e,
	0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f, 0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce,
	0x45, 0xcb, 0x3a, 0x8f, 0x95, 0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e,
}

func le32(b []byte) uint64 { return uint64(binary.LittleEndian.Uint32(b)) }
func le64(b []byte) uint64 { return binary.LittleEndian.Uint64(b) }
func sec(at int) uint64    { return le64(secret[at:]) }

func fold(a, b uint64) uint64 {
	high, low := bits.Mul64(a, b)
	return high ^ low
}

func avalanche(h uint64) uint64 {
	h ^= h >> 37
	h *= mix1
	return h ^ h>>32
}

func avalanche64(h uint64) uint64 {
	h ^= h >> 33
	h *= prime64x2
	h ^= h >> 29
	h *= prime64x3
	return h ^ h>>32
}

func mix16(in []byte, at int) uint64 { return fold(le64(in)^sec(at), le64(in[8:])^sec(at+8)) }

// Sum64 is the hash of 64 bits.
func Sum64(in []byte) uint64 {
	n := len(in)
	switch {
	case n == 0:
		return avalanche64(sec(56) ^ sec(64))
	case n <= 3:
		return avalanche64(short(in) ^ (le32(secret[0:]) ^ le32(secret[4:])))
	case n <= 8:
		h := (le32(in[n-4:]) + le32(in)<<32) ^ (sec(8) ^ sec(16))
		h ^= bits.RotateLeft64(h, 49) ^ bits.RotateLeft64(h, 24)
		h *= mix2
		h ^= h>>35 + uint64(n)
		h *= mix2
		return h ^ h>>28
	case n <= 16:
		low, high := le64(in)^(sec(24)^sec(32)), le64(in[n-8:])^(sec(40)^sec(48))
		return avalanche(uint64(n) + bits.ReverseBytes64(low) + high + fold(low, high))
	case n <= 128:
		h := uint64(n) * prime64x1
		for at := (n - 1) / 32; at >= 0; at-- {
			h += mix16(in[16*at:], 32*at) + mix16(in[n-16*(at+1):], 32*at+16)
		}
		return avalanche(h)
	case n <= middle:
		h := uint64(n) * prime64x1
		for at := range 8 {
			h += mix16(in[16*at:], 16*at)
		}
		h = avalanche(h)
		for at := 8; at < n/16; at++ {
			h += mix16(in[16*at:], 16*(at-8)+3)
		}
		return avalanche(h + mix16(in[n-16:], secretMin-17))
	}
	acc := long(in)
	return merge(&acc, 11, uint64(n)*prime64x1)
}

// Sum128 is the hash of 128 bits, its most significant byte first.
func Sum128(in []byte) (sum [16]byte) {
	low, high := sum128(in)
	binary.BigEndian.PutUint64(sum[:8], high)
	binary.BigEndian.PutUint64(sum[8:], low)
	return sum
}

func sum128(in []byte) (low, high uint64) {
	n := len(in)
	length := uint64(n)
	switch {
	case n == 0:
		return avalanche64(sec(64) ^ sec(72)), avalanche64(sec(80) ^ sec(88))
	case n <= 3:
		word := short(in)
		swapped := uint64(bits.RotateLeft32(bits.ReverseBytes32(uint32(word)), 13))
		return avalanche64(word ^ (le32(secret[0:]) ^ le32(secret[4:]))),
			avalanche64(swapped ^ (le32(secret[8:]) ^ le32(secret[12:])))
	case n <= 8:
		keyed := (le32(in) + le32(in[n-4:])<<32) ^ (sec(16) ^ sec(24))
		high, low = bits.Mul64(keyed, prime64x1+length<<2)
		high += low << 1
		low ^= high >> 3
		low ^= low >> 35
		low *= mix2
		return low ^ low>>28, avalanche(high)
	case n <= 16:
		first, last := le64(in), le64(in[n-8:])
		high, low = bits.Mul64(first^last^(sec(32)^sec(40)), prime64x1)
		low += (length - 1) << 54
		last ^= sec(48) ^ sec(56)
		high += last + uint64(uint32(last))*(prime32x2-1)
		low ^= bits.ReverseBytes64(high)
		h, l := bits.Mul64(low, prime64x2)
		return avalanche(l), avalanche(h + high*prime64x2)
	case n <= 128:
		low = length * prime64x1
		for at := (n - 1) / 32; at >= 0; at-- {
			mix32(&low, &high, in[16*at:], in[n-16*(at+1):], 32*at)
		}
		return finish128(low, high, length)
	case n <= middle:
		low = length * prime64x1
		for at := range 4 {
			mix32(&low, &high, in[32*at:], in[32*at+16:], 32*at)
		}
		low, high = avalanche(low), avalanche(high)
		for at := 4; at < n/32; at++ {
			mix32(&low, &high, in[32*at:], in[32*at+16:], 3+32*(at-4))
		}
		mix32(&low, &high, in[n-16:], in[n-32:], secretMin-17-16)
		return finish128(low, high, length)
	}
	acc := long(in)
	return merge(&acc, 11, length*prime64x1), merge(&acc, len(secret)-stripe-11, ^(length * prime64x2))
}

// One to three bytes in a word.
func short(in []byte) uint64 {
	n := len(in)
	return uint64(in[0])<<16 | uint64(in[n>>1])<<24 | uint64(in[n-1]) | uint64(n)<<8
}

func mix32(low, high *uint64, one, two []byte, at int) {
	*low = (*low + mix16(one, at)) ^ (le64(two) + le64(two[8:]))
	*high = (*high + mix16(two, at+16)) ^ (le64(one) + le64(one[8:]))
}

func finish128(low, high, length uint64) (uint64, uint64) {
	return avalanche(low + high), -avalanche(low*prime64x1 + high*prime64x4 + length*prime64x2)
}

// long runs over more than 240 bytes.
func long(in []byte) [8]uint64 {
	acc := [8]uint64{
		prime32x3, prime64x1, prime64x2, prime64x3, prime64x4, prime32x2, prime64x5, prime32x1,
	}
	const stripes = (len(secret) - stripe) / 8
	last := in[len(in)-stripe:]
	blocks := (len(in) - 1) / (stripe * stripes)
	for range blocks {
		for at := range stripes {
			accumulate(&acc, in[stripe*at:], 8*at)
		}
		in = in[stripe*stripes:]
		for lane := range acc {
			acc[lane] ^= acc[lane] >> 47
			acc[lane] ^= sec(len(secret) - stripe + 8*lane)
			acc[lane] *= prime32x1
		}
	}
	for at := range (len(in) - 1) / stripe {
		accumulate(&acc, in[stripe*at:], 8*at)
	}
	accumulate(&acc, last, len(secret)-stripe-7)
	return acc
}

func accumulate(acc *[8]uint64, in []byte, at int) {
	for lane := range acc {
		value := le64(in[8*lane:])
		key := value ^ sec(at+8*lane)
		acc[lane^1] += value
		acc[lane] += uint64(uint32(key)) * (key >> 32)
	}
}

func merge(acc *[8]uint64, at int, h uint64) uint64 {
	for pair := range 4 {
		h += fold(acc[2*pair]^sec(at+16*pair), acc[2*pair+1]^sec(at+16*pair+8))
	}
	return avalanche(h)
}
