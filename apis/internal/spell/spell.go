package spell

import "strings"

// maxLength bounds the work: nobody misspells a 12-letter word into 65 letters.
const maxLength = 64

// minPrefix is how many letters have to be right before the rest is guessed.
const minPrefix = 4

// Nearest gives the known word closest to word, and false if none is close. A
// word that differs only in case is always close; otherwise a third of its
// letters may differ. Among equally close words the first one wins. Failing
// that, the first word of which it is the beginning is close.
func Nearest(word string, known []string) (string, bool) {
	if len(word) > maxLength {
		return "", false
	}
	best, bestDistance := "", len(word)/3+1
	for _, candidate := range known {
		if strings.EqualFold(candidate, word) {
			return candidate, true
		}
		if d := distance(word, candidate); d < bestDistance {
			best, bestDistance = candidate, d
		}
	}
	if best == "" && len(word) >= minPrefix {
		for _, candidate := range known {
			if strings.HasPrefix(candidate, word) {
				return candidate, true
			}
		}
	}
	return best, best != ""
}

// distance is the Levenshtein distance in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, diagonal+1)
		}
	}
	return row[len(b)]
}
